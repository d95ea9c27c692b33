"""The servers that Rota's are measured beside: a bare uvicorn echo, and FastAPI by hand with the same fitted pipeline.

    python benchmarks/serving/peers.py echo|fastapi|fastapi+0 PORT HOME

HOME/forest.skops is the pipeline; `one_row.py` writes it.
"""

import sys
from pathlib import Path
from typing import Any

import uvicorn


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def by_hand(home: Path, *, costs_nothing: bool) -> Any:
    import pandas as pd  # noqa: PLC0415 - only the servers that need these load them
    import skops.io  # noqa: PLC0415
    from fastapi import FastAPI  # noqa: PLC0415
    from pydantic import BaseModel  # noqa: PLC0415

    class Row(BaseModel):
        n0: float
        n1: float
        n2: float
        n3: float
        n4: float
        n5: float
        n6: float
        cut: str
        color: str
        clarity: str

    application = FastAPI()
    kept = (home / "forest.skops").read_bytes()
    model = None if costs_nothing else skops.io.loads(kept, trusted=skops.io.get_untrusted_types(data=kept))

    @application.post("/predict")
    def predict(row: Row) -> dict[str, float]:
        if model is None:
            return {"answer": 0.5}
        return {"answer": float(model.predict_proba(pd.DataFrame([row.model_dump()]))[0, 1])}

    return application


def main() -> None:
    name, port, home = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    application = echo if name == "echo" else by_hand(home, costs_nothing=name.endswith("+0"))
    uvicorn.run(application, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
