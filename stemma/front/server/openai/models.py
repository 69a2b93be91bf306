"""`/v1/models`: the one model of this server."""

import time

from starlette.types import ASGIApp

from stemma.core.config.serve import ServeConfig
from stemma.front.server.endpoint import Call
from stemma.front.server.errors import json_response


class Models:
    """What `base_url` clients list before they ask."""

    def __init__(self, serve: ServeConfig, context: int):
        self._card = {
            "id": serve.served_model_name,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "stemma",
            "root": serve.served_model_name,
            "parent": None,
            "max_model_len": context,
        }

    async def list(self, call: Call) -> ASGIApp:
        return json_response({"object": "list", "data": [self._card]})

    async def one(self, call: Call) -> ASGIApp:
        name = call.request.path_params["model"]
        if name == self._card["id"]:
            return json_response(self._card)
        error = {
            "message": f"The model '{name}' does not exist",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
        return json_response({"error": error}, 404)
