"""A ReAct agent: the model says what it thinks or calls a tool, reads what comes back, and goes on until it answers.

A call is a value of one of the tools' types, so that there is nothing to parse and nothing to mistrust. Each step is
computed behind what the steps before it left in the cache.
"""

import json

import msgspec

import stemma as sgl

WEATHER = {"Paris": ("rainy", 12), "Oslo": ("snowy", -4)}


class Numbers(msgspec.Struct):
    a: int
    b: int


class City(msgspec.Struct):
    city: str


class Add(msgspec.Struct, tag_field="name", tag="add"):
    """Add two numbers"""

    arguments: Numbers

    def result(self):
        return {"result": self.arguments.a + self.arguments.b}


class GetWeather(msgspec.Struct, tag_field="name", tag="get_weather"):
    """Get the weather of a city"""

    arguments: City

    def result(self):
        sky, degrees = WEATHER.get(self.arguments.city, ("cloudy", 15))
        return {"sky": sky, "degrees": degrees}


def offer(tool):
    """A tool, as the model was taught to read one."""
    taken = tool.__annotations__["arguments"]
    _, schemas = msgspec.json.schema_components([taken])
    about = {"name": tool.__struct_config__.tag, "description": tool.__doc__, "parameters": schemas[taken.__name__]}
    return {"type": "function", "function": about}


OFFERS = "\n".join(json.dumps(offer(tool)) for tool in (Add, GetWeather))
SYSTEM = f"""# Tools
<tools>
{OFFERS}
</tools>
Call a tool as JSON: <tool_call>{{"name": ..., "arguments": ...}}</tool_call>"""


@sgl.function
def agent(s, question, most_steps=4):
    s += sgl.system(SYSTEM)
    s += sgl.user(question)
    for step in range(most_steps):
        with s.assistant():
            s += sgl.gen("said", max_tokens=60, stop="<tool_call>")
            if s.get_meta_info("said")["finish_reason"].get("matched") != "<tool_call>":
                return s["said"]
            s += "<tool_call>\n" + sgl.gen("call", schema=Add | GetWeather, max_tokens=80) + "\n</tool_call>"
        result = json.dumps(s["call"].result())
        print(f"  step {step}: {s['call']} returns {result}")
        s += sgl.user(f"<tool_response>\n{result}\n</tool_response>")
    return f"no answer after {most_steps} steps"


def main(backend):
    for question in ("What is the weather in Paris?", "What is the sum of 123 and 456?"):
        print(question)
        print(agent.run(question, backend=backend, temperature=0).ret_value)


if __name__ == "__main__":
    with sgl.Engine() as engine:
        main(engine)
