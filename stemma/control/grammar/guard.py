"""Keywords of JSON schemas that a library reads over: an answer would not be held to them, so they are refused."""

from collections.abc import Collection

from stemma.core.base.errors import GrammarError

IGNORED = frozenset(  # by xgrammar and by outlines
    "contains minContains maxContains dependencies dependentRequired dependentSchemas if then else multipleOf not "
    "uniqueItems unevaluatedProperties unevaluatedItems".split()
)
MAPS = ("properties", "patternProperties", "$defs", "definitions")  # their keys are names
VALUES = ("enum", "const", "default", "examples")  # what looks like a keyword in them is none
BESIDE_PATTERN = ("minLength", "maxLength", "format")


def check_keywords(schema: object, ignored: Collection[str], formats: Collection[str], is_map: bool = False) -> None:
    """Raises GrammarError that names the keyword."""
    if isinstance(schema, list):
        for each in schema:
            check_keywords(each, ignored, formats)
    if not isinstance(schema, dict):
        return
    if not is_map:
        wrong = [name for name in schema if name in ignored]
        wrong += [f"pattern beside {name}" for name in BESIDE_PATTERN if "pattern" in schema and name in schema]
        wrong += [f"format {schema['format']!r}"] if schema.get("format", formats) not in (formats, *formats) else []
        if wrong:
            raise GrammarError(f"json_schema: this backend does not serve {', '.join(wrong)}; another one may")
    for name, value in schema.items():
        if is_map or name not in VALUES:
            check_keywords(value, ignored, formats, not is_map and name in MAPS)
