"""An issue's Markdown becomes goal, constraints and validation; nothing visible is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_fleet.core.errors import InvalidInput
from agent_fleet.core.issue import BODY_BYTES, read_issue

WHOLE = """\
## Goal
Log in **again**.

```py
# not a heading
```

## Constraints
- [ ] Keep the API
- No new
  dependencies
  - not even small ones

## Validation
- The page loads
- `make test`

```sh
# all of it
$ pytest -q \\
    tests
ruff check .
```
"""


def test_the_three_sections_are_told_apart():
    brief = read_issue(WHOLE, title="Login")

    assert brief.title == "Login"
    assert brief.goal == "Log in **again**.\n\n```py\n# not a heading\n```"
    assert brief.constraints == (
        "Keep the API",
        "No new\ndependencies\n- not even small ones",
    )
    assert brief.validation[:2] == ("The page loads", "make test")


def test_plain_prose_is_the_goal_as_it_stands():
    prose = "Please *fix* it.\n\n1. like this\n   - or so\n\n> quoted"

    brief = read_issue(prose, title="Fix")

    assert brief.goal == prose
    assert (brief.constraints, brief.validation) == ((), ())


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("# Objective", "goal"),
        ("### **What** needs to be done?", "goal"),
        ("Summary\n===", "goal"),
        ("#### 1. Description:", "goal"),
        ("## REQUIREMENTS", "constraints"),
        ("## 🚧 Rules 🚧", "constraints"),
        ("Limits\n---", "constraints"),
        ("###### Must", "constraints"),
        ("## ✅ Acceptance criteria", "validation"),
        ("## How to test", "validation"),
        ("## Definition of Done", "validation"),
        ("## Test plan (manual)", "validation"),
        ("## Checks ##", "validation"),
    ],
)
def test_a_heading_is_known_by_its_words(heading: str, kind: str):
    brief = read_issue(f"before\n\n{heading}\n\nthe text\n", title="t")

    found = {
        "goal": brief.goal.endswith("\n\nthe text") and heading not in brief.goal,
        "constraints": brief.constraints == ("the text",),
        "validation": brief.validation == ("the text",),
    }
    assert [name for name, holds in found.items() if holds] == [kind]


@pytest.mark.parametrize(
    ("heading", "item"),
    [
        ("Non-goals", "Non-goal: a rewrite"),
        ("Must not", "Must not: a rewrite"),
        ("Out of scope", "Out of scope: a rewrite"),
        ("Don't", "Do not: a rewrite"),
    ],
)
def test_what_is_not_wanted_says_so_in_each_item(heading: str, item: str):
    brief = read_issue(f"## {heading}\n- a rewrite\n", title="t")

    assert brief.constraints == (item,)


def test_an_unknown_heading_stays_in_the_goal():
    brief = read_issue("## Background\nold\n\n## Goal\nnew\n\n## Notes\nmore", title="t")

    assert brief.goal == "new\n\n## Background\n\nold\n\n## Notes\n\nmore"


def test_an_unknown_heading_below_a_known_one_belongs_to_it():
    brief = read_issue("## Constraints\n- a\n### Speed\n- b\n## Else\nc", title="t")

    assert brief.constraints == ("a", "Speed:", "b")
    assert brief.goal == "## Else\n\nc"


def test_text_above_the_first_heading_is_context_of_the_goal():
    assert read_issue("why\n\n## Goal\nwhat").goal == "why\n\nwhat"
    assert read_issue("what\n\n## Constraints\n- a").goal == "what"


def test_the_title_comes_from_the_page_where_none_is_given():
    assert read_issue("# Fix *it*\n\nNow.").title == "Fix *it*"
    assert read_issue("# Fix it\n\nNow.").goal == "Now."
    assert read_issue("- now\n- later").title == "now"


def test_an_empty_body_leaves_the_title_as_the_goal():
    assert read_issue("<!-- write here -->\n\n", title=" Fix it ").goal == "Fix it"
    assert read_issue("## Goal\n\n_No response_\n", title="Fix it").goal == "Fix it"


def test_nothing_at_all_is_an_error():
    with pytest.raises(InvalidInput) as caught:
        read_issue(" \n", title="\t")

    assert caught.value.path == "body"


def test_a_body_beyond_the_limit_is_an_error():
    assert read_issue("é" * (BODY_BYTES // 2)).goal

    with pytest.raises(InvalidInput) as caught:
        read_issue("é" * (BODY_BYTES // 2) + "x")

    assert caught.value.path == "body"


@pytest.mark.parametrize(
    ("block", "commands"),
    [
        ("```sh\nmake test\n\nmake lint\n```", ("make test", "make lint")),
        ("```bash\n# first\nmake a \\\n  b\n```", ("make a b",)),
        ("~~~\n$ make test\n~~~", ("make test",)),
        ("    make test\n", ("make test",)),
        ("- `make test`", ("make test",)),
        ("- [x] Run `$ make test`.", ("make test",)),
        ("1. `make test` passes", ("make test",)),
        ("- All:\n  ```sh\n  make test\n  ```", ("All:", "make test")),
        ("- see `README` and\n  look", ("see `README` and\nlook",)),
        ("```py\nprint(1)\n```", ("```py\nprint(1)\n```",)),
        ("```console\n$ make\nok\n```", ("make", "```console\n$ make\nok\n```")),
    ],
)
def test_commands_are_taken_out_of_their_markup_and_prose_is_kept(block: str, commands: tuple[str]):
    assert read_issue(f"## Validation\n\n{block}\n", title="t").validation == commands


def test_comments_are_dropped_where_a_reader_does_not_see_them():
    body = "a <!-- x\ny -->b\n\n<!--\nhidden\n-->\n- c <!-- y --> d\n<!-- never closed\nend"

    assert read_issue(body).goal == "a \nb\n\n- c  d"


def test_what_looks_like_a_comment_in_code_is_kept():
    body = "`<!-- a -->` and ``` ` <!-- b --> ```\n\n```html\n<!-- c -->\n```\n\n<!open"

    assert read_issue(body).goal == body


def test_front_matter_is_dropped_and_a_rule_is_not():
    assert read_issue("---\ntitle: x\nlabels:\n  - a\n---\nhello").goal == "hello"
    assert read_issue("---\nWe said: no\n\n---\nhello").goal.startswith("---\nWe said: no")


def test_line_ends_and_control_characters_are_made_plain():
    body = "\ufeff## Goal\r\na\0b\x1b[31m\tc\rd\ud800\r\n"

    assert read_issue(body).goal == "ab[31m\tc\nd"


PIECES = st.sampled_from(
    [
        "# Goal",
        "## Must not",
        "Tests",
        "---",
        "- ",
        "  ",
        "\n",
        "\n\n",
        "```",
        "sh\n",
        "<!--",
        "-->",
    ]
    + ["`", "> ", "1. ", "[ ] ", "\t", "\r", "\0", "$ make", "\\", "<div>", "_No response_", "é"]
)
MARKDOWN = st.one_of(st.text(), st.lists(PIECES | st.text(max_size=5)).map("".join))


@given(MARKDOWN, st.none() | st.text())
def test_any_text_is_read_or_refused_by_name(body: str, title: str | None):
    try:
        brief = read_issue(body, title=title)
    except InvalidInput as error:
        refused = error.path
        brief = read_issue(body, title="something")
    else:
        refused = "body"

    assert refused == "body"
    texts = [brief.title, brief.goal, *brief.constraints, *brief.validation]
    assert all(text.strip() for text in texts)


@given(st.lists(PIECES | st.text(max_size=5)).map("".join))
def test_only_known_text_is_ever_left_out(body: str):
    word = "needle"

    whole = read_issue(f"{body.replace('<!--', '')}\n\n{word}\n", title="t")

    assert word in "\n".join([whole.goal, *whole.constraints, *whole.validation])


WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1)


@given(st.lists(st.lists(WORDS, min_size=1).map(" ".join), min_size=1))
def test_prose_is_kept_to_the_letter(paragraphs: list[str]):
    prose = "\n\n".join(paragraphs)

    assert read_issue(prose, title="t").goal == prose
