"""What each tool is called, says of itself and takes, with the names and types that Claude Code uses. A field that is
unknown is refused. Shapes and words only.
"""

from typing import Annotated, Any, Literal

import msgspec

from runtime.tools.refusal import Refused

BASH_MS_DEFAULT = 120_000
BASH_MS_MAX = 600_000
COMMAND_BYTES_MAX = 100_000
"""What the system takes as one argument is 131,072."""
PATTERN_CHARS_MAX = 2_000

Path = Annotated[str, msgspec.Meta(min_length=1)]
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=PATTERN_CHARS_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
_PATH = "Absolute, or relative to the working folder."


class ReadInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file_path: Annotated[Path, msgspec.Meta(description=f"The file. {_PATH}")]
    offset: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None, msgspec.Meta(description="First line, counted from 1.")
    ] = None
    limit: Annotated[Annotated[int, msgspec.Meta(ge=1)] | None, msgspec.Meta(description="How many lines.")] = None


class EditInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file_path: Annotated[Path, msgspec.Meta(description=f"The file. {_PATH}")]
    old_string: Annotated[str, msgspec.Meta(description="Text to replace, exactly as it stands in the file.")]
    new_string: Annotated[str, msgspec.Meta(description="Text to put in its place; not the same.")]
    replace_all: Annotated[bool, msgspec.Meta(description="Replace every occurrence.")] = False


class WriteInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file_path: Annotated[Path, msgspec.Meta(description=f"The file. {_PATH}")]
    content: Annotated[str, msgspec.Meta(description="All of its new content.")]


class GlobInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pattern: Annotated[Pattern, msgspec.Meta(description="Such as `**/*.py` or `src/**/*.{ts,tsx}`.")]
    path: Annotated[Path | None, msgspec.Meta(description="Directory to look in; default: the working folder.")] = None


class GrepInput(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"after": "-A", "before": "-B", "around": "-C", "numbers": "-n", "ignore_case": "-i"},
):
    pattern: Annotated[Pattern, msgspec.Meta(description="A regular expression, as Python understands it.")]
    path: Annotated[
        Path | None, msgspec.Meta(description="File or directory to search; default: the working folder.")
    ] = None
    glob: Annotated[Pattern | None, msgspec.Meta(description="Only files that match, such as `*.{js,ts}`.")] = None
    type: Annotated[Path | None, msgspec.Meta(description="Only files of this type, such as js, py or rust.")] = None
    output_mode: Annotated[
        Literal["content", "files_with_matches", "count"],
        msgspec.Meta(description="Lines, names of files (default), or how many lines in each file."),
    ] = "files_with_matches"
    after: Annotated[Count | None, msgspec.Meta(description="Lines to show after each match (content).")] = None
    before: Annotated[Count | None, msgspec.Meta(description="Lines to show before each match (content).")] = None
    around: Annotated[Count | None, msgspec.Meta(description="Lines before and after each match (content).")] = None
    context: Annotated[Count | None, msgspec.Meta(description="The same as -C.")] = None
    numbers: Annotated[bool, msgspec.Meta(description="Show line numbers (content).")] = True
    ignore_case: Annotated[bool, msgspec.Meta(description="Ignore case.")] = False
    multiline: Annotated[bool, msgspec.Meta(description="Matches may span lines; `.` matches a line end.")] = False
    head_limit: Annotated[Count | None, msgspec.Meta(description="At most so many lines; 0: as many as fit.")] = None
    offset: Annotated[Count | None, msgspec.Meta(description="Skip so many lines first.")] = None


class BashInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    command: Annotated[str, msgspec.Meta(min_length=1, description="The command line.")]
    timeout: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        msgspec.Meta(description=f"Milliseconds; at most {BASH_MS_MAX}, default {BASH_MS_DEFAULT}."),
    ] = None
    description: Annotated[str | None, msgspec.Meta(description="What it does, in a few words.")] = None


Input = ReadInput | EditInput | WriteInput | GlobInput | GrepInput | BashInput

_SHAPES: dict[str, tuple[type[Input], str]] = {
    "Read": (
        ReadInput,
        "Reads a file of the working folder, with line numbers: the number, a tab, the line. Long files are cut; go on "
        "with offset and limit. PNG, JPEG, GIF and WebP images are shown.",
    ),
    "Glob": (
        GlobInput,
        "Finds files by pattern, the newest first. `**` stands for any directories; a pattern without a slash matches "
        "names at any depth. Answers paths relative to the working folder.",
    ),
    "Grep": (
        GrepInput,
        "Searches the text of files for a regular expression. Files that .gitignore names, version control's own and "
        "binary ones are left out. Answers paths relative to the working folder.",
    ),
    "Edit": (
        EditInput,
        "Replaces text in a file that was read before and has not changed since. old_string has to occur exactly "
        "once, unless replace_all is set. Line ends are kept as they are in the file.",
    ),
    "Write": (
        WriteInput,
        "Writes a whole file, and the directories to it. One that exists has to be read first. Edit is for changes.",
    ),
    "Bash": (
        BashInput,
        "Runs a command with bash in a sandbox that begins in the working folder: no network, the rest of the system "
        "read-only or hidden, a /tmp of its own, .git and .claude read-only. Nothing of it stays when it has ended: "
        "neither directory changes nor variables nor processes in the background.",
    ),
}
TOOL_NAMES: tuple[str, ...] = tuple(_SHAPES)


def definition_of(name: str) -> dict[str, Any]:
    """As the Messages API takes it."""
    shape, description = _SHAPES[name]
    ((_, schema),) = msgspec.json.schema_components([shape])[1].items()
    return {
        "name": name,
        "description": description,
        "input_schema": {
            "type": "object",
            "properties": {field: _offered(shown) for field, shown in schema["properties"].items()},
            "required": schema["required"],
            "additionalProperties": False,
        },
    }


def _offered(schema: dict[str, Any]) -> dict[str, Any]:
    """A field that may be left out is not offered as null, though null is taken."""
    if schema.get("default", ...) is None:
        schema = {"description": schema["description"], **schema["anyOf"][0]}
    return schema


def parse_input(name: str, tool_input: dict[str, Any]) -> Input:
    """Raises `Refused` with what is wrong and where."""
    shape, _ = _SHAPES[name]
    try:
        return msgspec.convert(tool_input, type=shape)
    except msgspec.ValidationError as error:
        raise Refused(f"{name} was not called: its input does not fit. {error}.") from None
