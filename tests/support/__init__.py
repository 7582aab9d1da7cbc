"""What several tests share: real parts of the machine, and waiting for other processes."""
