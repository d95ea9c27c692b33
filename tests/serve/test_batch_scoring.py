"""Batches: one output row for each input row, whatever is refused and whenever it is killed; logged as online."""

import polars as pl
import pytest

from rota.errors import InvalidInput, NotFound, Refused, Unavailable
from rota.manage.features.rows import file_readers
from rota.manage.features.rows.column_conversion import Raw
from rota.ports.metadata import Batch
from rota.records.release import Unloaded
from rota.serve import batch_scoring
from rota.serve.batch_scoring import BatchJob

JOB = BatchJob("batch-1", "delay", 1, 0, "rows", 10)


def chunks(frame, rows=10):
    return iter([Raw(frame[start : start + rows]) for start in range(0, frame.height, rows)])


def table(rows):
    return pl.DataFrame({"x": [float(n) for n in range(rows)], "carrier": ["AA", "UA", None, "zz", "AA"] * (rows // 5), "more": range(rows)})


@pytest.fixture
def scored(world, tmp_path):
    """Runs a job over a frame; returns its result and the output."""
    world.serve(world.route(1, weight=60), world.route(2, "canary", 40))

    def run(frame, name="out.parquet", job=JOB, **options):
        output = tmp_path / name
        begun = batch_scoring.job_of(output, job, restart=options.pop("restart", False))
        served = batch_scoring.loaded(world.model_source, begun)
        return batch_scoring.run(world.core, served, begun, chunks(frame, begun.part_rows), output, **options), output

    return run


def test_each_input_row_has_one_output_row_in_its_order_and_one_in_the_log(world, scored):
    told = []
    result, output = scored(table(55), progress=told.append)
    found = pl.read_parquet(output)
    assert (result.rows, result.failed, result.resumed, told) == (55, 0, 0, [10, 20, 30, 40, 50, 55])
    assert found["row"].to_list() == list(range(55))
    codes = [0, 1, 0, 2, 0]
    assert found["answer"].to_list() == [100.0 * version + n + codes[n % 5] for n, version in enumerate(found["version"])]
    assert set(found["version"]) == {1, 2}
    assert sorted(found["prediction_id"]) == sorted(row["prediction_id"] for row in world.log())
    assert not batch_scoring.folder_of(output).exists()


def test_a_version_answers_alone(scored):
    _, output = scored(table(20), job=BatchJob("b", "delay", 1, 2, "rows", 10))
    assert set(pl.read_parquet(output)["version"]) == {2}


def test_rows_that_are_refused_have_their_error_and_the_others_their_answer(world, scored):
    frame = table(20).with_columns(x=pl.when(pl.col("more") == 3).then(-555.0).when(pl.col("more") == 14).then(float("inf")).otherwise("x"))
    result, output = scored(frame)
    found = pl.read_parquet(output)
    assert (result.failed, found.height, found["answer"].null_count()) == (2, 20, 2)
    assert "-555.0, which the model does not take" in found["error"][3]
    assert found["error"][14] == "the row: field 'x' is infinite; send a finite number or null"
    assert len(world.log()) == 19  # the one that the model was never asked for is not in the log, as online


def test_a_job_that_ended_early_goes_on_and_logs_each_row_once(world, scored, monkeypatch, tmp_path):
    answer, left = world.core.answer, [3]

    def killed(requests):
        responses = answer(requests)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return responses

    monkeypatch.setattr(world.core, "answer", killed)
    with pytest.raises(KeyboardInterrupt):
        scored(table(50))
    assert len(list((tmp_path / "out.parquet.parts").glob("*.parquet"))) == 2
    monkeypatch.setattr(world.core, "answer", answer)
    result, output = scored(table(50), job=BatchJob("another", "delay", 1, 0, "rows", 10))
    assert (result.rows, result.resumed) == (50, 20)
    found = pl.read_parquet(output)
    assert found["prediction_id"].to_list() == [f"batch-1-{n}" for n in range(50)]
    assert sorted(row["prediction_id"] for row in world.log()) == sorted(found["prediction_id"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.with_columns(x=pl.col("x") + 1), "has changed since part 0"),
        (lambda frame: frame.reverse(), "has changed since part 0"),
        (lambda frame: frame[:10], "has become shorter"),
    ],
)
def test_an_input_that_changed_meanwhile_is_refused(scored, monkeypatch, world, change, words):
    monkeypatch.setattr(batch_scoring, "_put_together", lambda *_: None)
    scored(table(20))
    with pytest.raises(InvalidInput, match=words):
        scored(change(table(20)))
    monkeypatch.undo()
    result, _ = scored(change(table(20)), restart=True)
    assert result.resumed == 0


def test_columns_of_lists_and_structs_are_part_of_the_input(scored, monkeypatch):
    nested = {"face": [[1.0, n] for n in range(20)], "both": [{"a": n} for n in range(20)], "raw": [b"a"] * 20}
    frame = (
        table(20)
        .with_columns(pl.Series(name, values, strict=False) for name, values in nested.items())
        .with_columns(fixed=pl.col("face").cast(pl.Array(pl.Float64, 2)))
    )
    monkeypatch.setattr(batch_scoring, "_put_together", lambda *_: None)
    assert scored(frame)[0].rows == 20
    assert scored(frame)[0].resumed == 20
    with pytest.raises(InvalidInput, match="has changed since part 1"):
        scored(frame.with_columns(face=pl.when(pl.col("more") == 15).then([0.0, 0.0]).otherwise("face")))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_outputs_and_files_of_each_kind(world, scored, tmp_path, suffix):
    table(20).write_csv(tmp_path / "in.csv")
    world.serve()
    output = tmp_path / f"answers.{suffix}"
    job = batch_scoring.job_of(output, JOB, restart=False)
    result = batch_scoring.run(
        world.core, batch_scoring.loaded(world.model_source, job), job, file_readers.chunks(tmp_path / "in.csv", None, rows=7), output
    )
    read = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}[suffix]
    assert (result.rows, result.failed, read(output)["row"].to_list()) == (20, 0, list(range(20)))


def test_a_cell_that_is_no_number_is_named(world, scored, tmp_path):
    (tmp_path / "in.csv").write_text("x,carrier\n1,AA\nmany,UA\n")
    output = tmp_path / "out.parquet"
    job = batch_scoring.job_of(output, JOB, restart=False)
    batch_scoring.run(world.core, batch_scoring.loaded(world.model_source, job), job, file_readers.chunks(tmp_path / "in.csv", None), output)
    assert pl.read_parquet(output)["error"].to_list() == ["", "field 'x': many is no float"]


def test_an_empty_input_has_an_empty_output(scored):
    result, output = scored(table(0))
    assert (result.rows, pl.read_parquet(output).height) == (0, 0)


def test_what_cannot_be_scored_says_why(world, scored, tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match=r"no columns \['carrier'\]"):
        scored(table(10).drop("carrier"), "a.parquet")
    with pytest.raises(InvalidInput, match="suffix"):
        scored(table(10), "a.xlsx")
    with pytest.raises(NotFound, match="does not serve version 7"):
        scored(table(10), "b.parquet", BatchJob("b", "delay", 1, 7, "rows", 10))
    scored(table(10), "c.parquet")
    with pytest.raises(InvalidInput, match="exists already"):
        scored(table(10), "c.parquet")
    other = BatchJob("other", "delay", 1, 0, "other rows", 10)
    assert scored(table(10), "a.parquet", other)[0].rows == 10, "what failed before it scored a part stands in nobody's way"
    folder = batch_scoring.folder_of(tmp_path / "e.parquet")
    batch_scoring.job_of(tmp_path / "e.parquet", JOB, restart=False)
    (folder / "part.parquet").touch()
    with pytest.raises(InvalidInput, match="parts of another job"):
        batch_scoring.job_of(tmp_path / "e.parquet", other, restart=False)
    batch = Batch()
    batch.put(Unloaded("delay", "ada", 1))
    world.metadata.commit(batch)
    with pytest.raises(Refused, match="unloaded by ada"):
        scored(table(10), "d.parquet")


def test_nothing_is_written_that_the_log_did_not_take(world, scored, monkeypatch, tmp_path):
    def full(*_arguments, **_options):
        raise Unavailable("no space left")

    monkeypatch.setattr(world.journal, "append", full)
    with pytest.raises(Unavailable, match="run the same command again"):
        scored(table(10))
    monkeypatch.undo()
    assert scored(table(10))[0].rows == 10


def test_what_polars_has_no_type_for_counts_in_what_tells_an_input_from_another():
    before, after = (pl.DataFrame({"x": pl.Series([1, value], dtype=pl.Object), "n": [1, 2]}) for value in ({"a": 1}, {"a": 2}))
    assert batch_scoring._fingerprint(before) == batch_scoring._fingerprint(before.clone())
    assert batch_scoring._fingerprint(before) != batch_scoring._fingerprint(after)
