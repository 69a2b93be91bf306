"""What a message must match: `response_format` and its kin, tools and their choice, put together."""

from collections.abc import Mapping

import msgspec

from stemma.core.base.errors import BadRequest
from stemma.core.types.grammar import MAX_GRAMMAR_CHARACTERS, Grammar
from stemma.front.dialect.constraint import FIELDS, check_alone, wanted, wanted_json
from stemma.front.dialect.sampling import Wish
from stemma.front.server.openai.schema import AnyObject, Common, JsonSchema, TextFormat
from stemma.front.server.openai.tools import Chosen, Function
from stemma.front.service.promise import Promise, Wanted
from stemma.front.text.formats import CallFormat
from stemma.front.text.tags import Calls, Thoughts, message_grammar


def content_of(body: Common, wish: Wish) -> Wanted | None:
    """What the content is held to: a `response_format` goes before the server's default, but excludes other wishes."""
    asked = body.response_format
    if asked is None or isinstance(asked, TextFormat):
        return wish.grammar
    check_alone(["response_format", *(name for name in FIELDS if getattr(body, name))])
    match asked:
        case AnyObject():
            return Wanted(Grammar("json_schema", '{"type": "object"}'), "response_format")
        case JsonSchema(json_schema=named):
            return wanted_json("json_schema", named.schema, "response_format.json_schema.schema")
        case _:
            return wanted("structural_tag", msgspec.json.encode(asked).decode(), "response_format")


def promise_of_message(
    content: Wanted | None, chosen: Chosen, format: CallFormat | None, thoughts: Thoughts | None
) -> Promise | None:
    """Free text stays free where calls may be, but need not be, and none of them is strict."""
    if content and chosen.must:
        raise BadRequest(f"tool_choice: a call is demanded, and {content.field} asks for content", "tool_choice")
    held: Mapping[str, Wanted] = {}
    calls: Calls | None = None
    if format and (chosen.must or content or any(function.strict for function in chosen.functions.values())):
        held = arguments_of(chosen)
    if format and held:
        schemas = {name: msgspec.json.decode(each.grammar.source) for name, each in held.items()}
        calls = Calls(format=format, schemas=schemas, must=chosen.must, many=chosen.many)
    grammar = message_grammar(content.grammar if content else None, calls, thoughts)
    if grammar is None:
        return None
    if len(grammar.source) > MAX_GRAMMAR_CHARACTERS:
        text = f"their grammar has {len(grammar.source)} characters, and {MAX_GRAMMAR_CHARACTERS} are the most"
        raise BadRequest(f"tools: {text}; send fewer or smaller ones", "tools")
    return Promise(grammar=grammar, content=content, calls=held, must_call=chosen.must)


def arguments_of(chosen: Chosen) -> Mapping[str, Wanted]:
    """What the arguments of each function are held to: its schema, or any object where that is not asked for."""
    return {
        function.name: wanted_json("json_schema", schema_of(function, chosen.must, field), field)
        for field, function in chosen.functions.items()
    }


def schema_of(function: Function, must: bool, field: str) -> object:
    if function.strict is False or (function.strict is None and not must):
        return {"type": "object"}
    schema = {"properties": {}, "additionalProperties": False} if function.parameters is None else function.parameters
    if not isinstance(schema, dict):
        return {"type": "object"}
    kind = schema.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise BadRequest(f"{field}.type: {kind!r}, but arguments are an object", f"{field}.type")
    return {**schema, "type": "object"}
