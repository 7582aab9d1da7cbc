"""What the fleet knows, kept: the domain's verbs over SQLAlchemy Core; one schema, two engines.

A change of state, its event and its outbox rows are one transaction. Every write of an attempt is
one conditional statement on (task, attempt, epoch); no row changed means `LeaseLost`. Only `core`
is imported here; no rule of the lifecycle is repeated here.
"""
