"""Limits of what comes from outside that no setting changes; docs/settings.md lists them beside those that are settings.

Each is far above what anybody sends on purpose, and keeps one request from costing more than its size.
"""

from dataclasses import dataclass

from rota import foreign_archives, found_files
from rota.records.text_limits import ENTRIES, NAME, OWN, TAGS

HEADERS = 200
PIPELINED = 100
FEWEST_BYTES_A_SECOND = 1_000
READ_ON_BYTES = 128_000_000
READ_ON_S = 30.0
JSON_DEPTH = 64
SPARE_PARTS = 10_000
"""Lists and objects that a JSON body may have beside its rows."""
TENSORS = 10_000
LONGEST_LINE = 16_000_000
MOST_COLUMNS = 10_000
ONLINE_VALUES = 1_000_000
"""What one request for online features may ask for: a small body can name many rows, and its answer is fifty times as large."""
ARTIFACT_PATH = 1_024
ARTIFACT_PART = 255
MOST_CLASSES, KEPT_CLASSES = 100, 20
"""Classes of an answer up to which the log keeps the probability of each; of more it keeps those of so many likeliest ones."""
BODIES = 8
"""All bodies that one process holds at a time may have this many times max_request_mb."""
MESSAGE = 2_000


@dataclass(frozen=True, slots=True)
class FixedLimit:
    """A row of the table: what is limited, how far, and what happens beyond."""

    what: str
    most: str
    beyond: str


TABLE = (
    FixedLimit("Header lines of a request", f"{HEADERS}", "431"),
    FixedLimit("Requests waiting on one connection for the answer to an earlier one", f"{PIPELINED}", "429"),
    FixedLimit("Slowest sender of a body and slowest reader of an answer", f"{FEWEST_BYTES_A_SECOND:,} bytes a second", "408; closed"),
    FixedLimit("Packed bodies (Content-Encoding, Transfer-Encoding but chunked), also of files", "none; predictions gzip and deflate", "415"),
    FixedLimit("Bytes that a packed body of a prediction becomes", "max_request_mb", "413"),
    FixedLimit("Bodies that one process is being sent or answers at a time, together", f"{BODIES} times max_request_mb", "503, Retry-After"),
    FixedLimit("Lists and objects within each other in a JSON body", f"{JSON_DEPTH}", "422; predictions 400"),
    FixedLimit("Lists and objects of a JSON body", f"max_request_rows and {SPARE_PARTS:,}", "422; predictions 400"),
    FixedLimit("Tensors of an inference request; elements of one by its shape, looked at before its data", f"{TENSORS:,}; max_request_rows", "422"),
    FixedLimit("Values that one request for online features asks for (rows times features)", f"{ONLINE_VALUES:,}", "422"),
    FixedLimit("Whole numbers in addresses and bodies", "64 bits", "422"),
    FixedLimit("Characters of a filter; texts of a list in it; conditions; fields of an order", "1,000,000; 10,000; 100; 20", "422"),
    FixedLimit("Experiments that one search of runs names", "10,000", "422"),
    FixedLimit("Characters of a feature expression; its nesting", "10,000; 60", "refused where it is declared"),
    FixedLimit("Size of MLmodel; values that its aliases stand for; characters of a number in it", "1 MB; 100,000; 100", "not servable"),
    FixedLimit(
        "Names that a pattern or a folder makes Rota look at; folders within each other in a pattern; pipes, devices and what lies in /proc and /sys",
        f"{found_files.MOST_NAMES:,}; {found_files.DEEPEST_PATTERN}; none",
        "refused where it is declared or read",
    ),
    FixedLimit(
        "Characters of a name; of a reason, comment or answer; of a description, note or tag; of a policy",
        f"{NAME:,}; {OWN.usual:,}; {OWN.longer['description']:,}; {OWN.longer['toml']:,}",
        "422",
    ),
    FixedLimit("Characters of a text of MLflow's API beside what MLflow itself limits", "100,000", "400"),
    FixedLimit("Entries of a list in a body, if they are no rows; tags", f"{ENTRIES:,}; {TAGS:,}", "422; MLflow 400"),
    FixedLimit(
        "Bytes of a line of CSV and JSON lines; columns of a file; rows that a Parquet file says it has",
        f"{LONGEST_LINE:,}; {MOST_COLUMNS:,}; 10,000,000,000",
        "the file is refused",
    ),
    FixedLimit("Characters of an artifact's path; bytes of one part of it", f"{ARTIFACT_PATH:,}; {ARTIFACT_PART}", "422; MLflow 400"),
    FixedLimit("Files with which a model version is registered; size of one", "1,000; 2 GB", "refused"),
    FixedLimit(
        "Entries of an archive (skops models, exported models, releases); characters of a name; folders within each other",
        f"{foreign_archives.MOST_ENTRIES:,}; {foreign_archives.LONGEST_NAME:,}; {foreign_archives.DEEPEST_NAME}",
        "not unpacked",
    ),
    FixedLimit(
        "What an archive unpacks to: a model, a release; beyond 100 MB for each byte of it; archives within archives",
        f"2 GB, 50 MB; {foreign_archives.LARGEST_RATIO}; sparse matrices of skops only",
        "not unpacked",
    ),
    FixedLimit("Characters of an error's message; what lies between its beginning and its end is left out", f"{MESSAGE:,}", "cut"),
    FixedLimit(
        "What is read on after a refusal, so that its sender can read the answer", f"{READ_ON_BYTES // 1_000_000} MB, {READ_ON_S:g} seconds", "closed"
    ),
)


def is_packed(name: bytes, value: bytes) -> bool:
    """Whether a header, its name in lower case, says that the body is packed: a few bytes could stand for any number."""
    if name == b"content-encoding":
        return any(each.strip().lower() not in (b"", b"identity") for each in value.split(b","))
    return name == b"transfer-encoding" and value.strip().lower() != b"chunked"


def shortened(text: str, most: int = MESSAGE) -> str:
    """A text of at most about so many characters: its beginning and its end, and between them how long it was.

    Halves of surrogate pairs, which UTF-8 has no bytes for, are written as escapes.
    """
    if len(text) > most:
        end = most // 4
        text = f"{text[: most - end]} ... ({len(text)} characters) ... {text[-end:]}"
    return text.encode(errors="backslashreplace").decode()
