"""Schemas and values by chance, small enough that the two often meet."""

from random import Random

WORDS = ["", "a", "b", "ab", "abc", "x-1"]
NAMES = ["a", "b", "c"]
TYPES = ["null", "boolean", "object", "array", "number", "integer", "string"]


def schema(draw: Random, depth: int = 3) -> object:
    """Any keyword that the rewriter knows, logic included."""
    found: dict[str, object] = {}
    for _ in range(draw.randint(1, 3)):
        found.update(draw.choice((_plain, _plain, _logic if depth else _plain))(draw, depth))
    return found if draw.random() > 0.03 else draw.random() > 0.3


def _plain(draw: Random, depth: int) -> dict[str, object]:
    inner = depth - 1
    low = draw.randint(0, 2)
    match draw.randint(0, 14 if depth else 7):
        case 0 | 1:
            return {"type": draw.choice(TYPES)}
        case 2:
            return {"type": draw.sample(TYPES, 2)}
        case 3:
            return {"enum": [value(draw, 1) for _ in range(draw.randint(1, 3))]}
        case 4:
            return {"const": value(draw, 1)}
        case 5:
            return {draw.choice(("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")): draw.randint(-1, 3)}
        case 6:
            return {"minLength": low, "maxLength": low + draw.randint(0, 2)}
        case 7:
            return {"required": draw.sample(NAMES, draw.randint(1, 2))}
        case 8 | 9:
            names = draw.sample(NAMES, draw.randint(1, 3))
            found: dict[str, object] = {"properties": {name: schema(draw, inner) for name in names}}
            return found | ({"additionalProperties": draw.random() > 0.5} if draw.random() > 0.5 else {})
        case 10:
            return {"items": schema(draw, inner), "maxItems": 2}
        case 11:
            return {"prefixItems": [schema(draw, inner)], "minItems": low}
        case 12:
            return {"minProperties": low}
        case 13:
            return {"patternProperties": {draw.choice(("^[ab]$", "c")): schema(draw, inner)}}
    return {"maxProperties": low}


def _logic(draw: Random, depth: int) -> dict[str, object]:
    inner = depth - 1
    several = [schema(draw, inner) for _ in range(draw.randint(1, 3))]
    match draw.randint(0, 6):
        case 0:
            return {"not": several[0]}
        case 1:
            return {"anyOf": several}
        case 2:
            return {"allOf": several}
        case 3:
            return {"oneOf": several}
        case 4:
            return {"if": several[0], "then": several[-1]}
        case 5:
            return {"dependentRequired": {draw.choice(NAMES): [draw.choice(NAMES)]}}
    return {"propertyNames": {"enum": draw.sample(NAMES, 2)}}


def value(draw: Random, depth: int = 3) -> object:
    match draw.randint(0, 7 if depth else 5):
        case 0:
            return None
        case 1:
            return draw.random() > 0.5
        case 2:
            return draw.randint(-2, 4)
        case 3:
            return draw.choice([-0.5, 0.5, 1.5, 2.0])
        case 4 | 5:
            return draw.choice(WORDS)
        case 6:
            return [value(draw, depth - 1) for _ in range(draw.randint(0, 3))]
    return {name: value(draw, depth - 1) for name in draw.sample(NAMES, draw.randint(0, 3))}
