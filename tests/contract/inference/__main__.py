"""What unmodified clients of the Open Inference Protocol see of a server, as JSON: tritonclient over HTTP, and KServe's REST client.

Run by the interpreter of the environment `inference` with the file to write, the server's address and a token. Each call is a line of the
transcript: what it returned, or the error that the client raised.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from tritonclient.utils import InferenceServerException

X = np.array([[1.0, 2.0, 3.0, 4.0], [0.5, 0.5, 0.0, -1.0]])
Calls = dict[str, Callable[[], Any]]


def tensor(values: Any, name: str = "input-0", datatype: str = "FP64", *, binary: bool = True) -> triton.InferInput:
    values = np.asarray(values)
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def answers(result: Any, name: str = "answer") -> Any:
    return result.as_numpy(name).tolist()


def triton_calls(client: triton.InferenceServerClient, headers: dict[str, str]) -> Calls:
    asked = {"headers": headers}

    def infer(*inputs: triton.InferInput, model: str = "sum", **options: Any) -> Any:
        return client.infer(model, list(inputs), headers=dict(headers), **options)

    def in_json() -> Any:
        result = infer(tensor(X, binary=False), outputs=[triton.InferRequestedOutput("answer", binary_data=False)], request_id="r7")
        return [answers(result), result.get_response()["id"], "data" in result.get_output("answer")]

    def in_bytes() -> Any:
        result = infer(tensor(X))
        return [answers(result), result.get_output("answer")["parameters"]["binary_data_size"]]

    def by_columns() -> Any:
        columns = [tensor(X[:, place], name) for place, name in enumerate("abcd")]
        return answers(infer(*columns, model="columns"))

    def of_types() -> Any:
        whole = np.array([[1, 2, 3, 4]])
        kinds = {"FP32": np.float32, "FP16": np.float16, "INT64": np.int64, "INT32": np.int32, "INT16": np.int16, "INT8": np.int8}
        kinds |= {"UINT64": np.uint64, "UINT32": np.uint32, "UINT16": np.uint16, "UINT8": np.uint8, "FP64": np.float64}
        return {name: answers(infer(tensor(whole.astype(kind), datatype=name))) for name, kind in kinds.items()}

    def unload_and_load() -> Any:
        client.unload_model("sum", **asked)
        away = client.is_model_ready("sum", **asked)
        index = [(each["state"], "unloaded by" in each["reason"]) for each in client.get_model_repository_index(**asked) if each["name"] == "sum"]
        try:
            infer(tensor(X))
        except InferenceServerException as error:
            refused = [error.status(), "unloaded by" in error.message()]
        client.load_model("sum", **asked)
        return [away, index, refused, client.is_model_ready("sum", **asked), answers(infer(tensor(X)))]

    def asynchronously() -> Any:
        return answers(client.async_infer("sum", [tensor(X)], headers=dict(headers)).get_result())

    def log_settings() -> Any:
        before = client.get_log_settings(**asked)
        louder = client.update_log_settings({"log_verbose_level": 1}, **asked)
        return [before, louder, client.update_log_settings({"log_verbose_level": 0, "log_info": True}, **asked)]

    def statistics() -> Any:
        found = client.get_inference_statistics("sum", **asked)["model_stats"]
        return [
            (each["version"], each["inference_stats"]["success"]["count"] > 0, each["inference_count"] >= each["execution_count"]) for each in found
        ]

    return {
        "is_server_live": client.is_server_live,
        "is_server_ready": client.is_server_ready,
        "is_model_ready": lambda: client.is_model_ready("sum", **asked),
        "is_model_ready of a version": lambda: [client.is_model_ready("sum", version, **asked) for version in ("1", "2", "3")],
        "get_server_metadata": lambda: client.get_server_metadata(**asked),
        "get_model_metadata": lambda: client.get_model_metadata("sum", **asked),
        "get_model_metadata of columns": lambda: client.get_model_metadata("columns", **asked),
        "get_model_config": lambda: client.get_model_config("sum", **asked),
        "get_model_repository_index": lambda: client.get_model_repository_index(**asked),
        "infer in JSON": in_json,
        "infer in bytes": in_bytes,
        "infer by columns": by_columns,
        "infer of each datatype": of_types,
        "infer packed with gzip": lambda: answers(infer(tensor(X), request_compression_algorithm="gzip", response_compression_algorithm="gzip")),
        "infer packed with deflate": lambda: answers(
            infer(tensor(np.tile(X, (500, 1))), request_compression_algorithm="deflate", response_compression_algorithm="deflate")
        )[-2:],
        "infer of a version": lambda: answers(infer(tensor(X), model_version="2")),
        "async_infer": asynchronously,
        "unload_model, load_model": unload_and_load,
        "get_inference_statistics": statistics,
        "get_inference_statistics of all": lambda: sorted({each["name"] for each in client.get_inference_statistics(**asked)["model_stats"]}),
        "log settings": log_settings,
        "an unknown model": lambda: infer(tensor(X), model="nowhere"),
        "an unknown version": lambda: infer(tensor(X), model_version="9"),
        "an unknown input": lambda: infer(tensor(X, "input-1")),
        "an input twice": lambda: infer(tensor(X), tensor(X)),
        "an unknown output": lambda: infer(tensor(X), outputs=[triton.InferRequestedOutput("nothing")]),
        "another shape": lambda: infer(tensor(X[:, :3])),
        "80 MB": lambda: infer(tensor(np.zeros((2_500_000, 4)))),
        "250,000 rows": lambda: infer(tensor(np.zeros((250_000, 4)))),
        "after these": lambda: answers(infer(tensor(X))),
        "without a token": lambda: client.infer("sum", [tensor(X)]),
        "files to load": lambda: client.load_model("sum", config="{}", **asked),
        "gzip that is none": lambda: client.infer("sum", [tensor(X)], headers=headers | {"Content-Encoding": "gzip"}),
        "packed otherwise": lambda: client.infer("sum", [tensor(X)], headers=headers | {"Content-Encoding": "br"}),
    }


async def kserve_calls(url: str, headers: dict[str, str], write: Callable[[str, Any], None]) -> None:
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=1)) as client:

        async def infer(*, binary: bool) -> Any:
            given = InferInput("input-0", list(X.shape), "FP64")
            given.set_data_from_numpy(X, binary_data=binary)
            request = InferRequest("sum", [given], request_id="r8", parameters={"binary_data_output": binary})
            found = await client.infer(url, request, model_name="sum", headers=dict(headers))
            return [found.outputs[0].as_numpy().tolist(), found.id, found.model_name]

        calls = {
            "live": lambda: client.is_server_live(url),
            "ready": lambda: client.is_server_ready(url),
            "model ready": lambda: client.is_model_ready(url, "sum", headers=headers),
            "an unknown model is not ready": lambda: client.is_model_ready(url, "nowhere", headers=headers),
            "infer in JSON": lambda: infer(binary=False),
            "infer in bytes": lambda: infer(binary=True),
            "an error": lambda: client.infer(url, {"inputs": []}, model_name="sum", headers=dict(headers)),
        }
        for name, call in calls.items():
            try:
                write(f"kserve: {name}", await call())
            except Exception as error:  # noqa: BLE001 - whatever the client raises is what its user sees
                write(f"kserve: {name}", {"raised": type(error).__name__, "error": str(error)})


def main(out: Path, url: str, token: str) -> None:
    found: dict[str, Any] = {}
    headers = {"Authorization": f"Bearer {token}"}
    client = triton.InferenceServerClient(url.removeprefix("http://"), connection_timeout=60, network_timeout=60)
    for name, call in triton_calls(client, headers).items():
        try:
            found[name] = call()
        except InferenceServerException as error:
            found[name] = {"raised": error.status(), "error": error.message()}
        except Exception as error:  # noqa: BLE001 - as above
            found[name] = {"raised": type(error).__name__, "error": str(error)}
    client.close()
    asyncio.run(kserve_calls(url, headers, found.__setitem__))
    out.write_text(json.dumps(found, indent=1, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
