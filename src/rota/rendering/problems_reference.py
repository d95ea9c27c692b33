"""The reference of all problem types as Markdown, generated from their tables; `make docs` writes it to docs/problems.md."""

from collections.abc import Iterable

from rota.problems.problem_type import Metric, ProblemType
from rota.problems.registry import PROBLEMS
from rota.records.run import Gate

_INTRODUCTION = """\
# Problem types

<!-- Generated from src/rota/problems by `make docs`; edit it there. -->

`rota.TrainingPipeline(..., problem="multiclass")` says which kind of problem a model solves. It decides what an answer looks like, which
labels are taken, by which metrics a model is measured in gates and monitors, and by which loss a candidate is compared with the
champion. Metrics agree with scikit-learn's of the same meaning and take the weights of rows; of a label of several parts those that are
not known yet are left out. A metric that is not defined on the rows at hand (an area with one class) is left out too, and a gate that asks for
it could not judge. The evaluation of a candidate has the 95 % interval of each metric besides, by a bootstrap over the days of the test rows
(of four days and more; rows of a day are drawn together, for they are not independent).

Golden rows must be answered again to the tolerance of the model's format, whatever the problem.

```python
import rota


@rota.metric(higher_is_better=False, lowest=0)
def worst_miss(truth, answers):
    \"\"\"A metric of a team's own: name it in a pipeline's `metrics`, and in its gates.\"\"\"
    return abs(truth - answers).max()
```

`rota.TrainingPipeline(..., metrics=[worst_miss], gates=[rota.at_most("worst_miss", 40)])` measures every candidate and its champion by it, whole and
of the slices that gates name. The function is called in a process of its own, with `(truth, answers)` or, when it has one parameter, with the
`ScoredRows` (weights and groups too), and gives a finite number between the ends that it declares, or NaN where it is not defined.

- **Monitors** measure every day and version by it, and judge its days as they judge the loss (`performance`, with the metric's name); how hard the
  rows of a day were is not known to it. The function is that of the release that is deployed.
- **Rollouts** compare both versions by it: `rota.metric("worst_miss", margin=2)` in an analysis, as by any other metric or loss of the problem. It is
  measured hour by hour of the labelled predictions that both versions made.
- **Searches** take it as their metric: `rota.tune("bikes", objective, metric=worst_miss)`, where the objective returns `(truth, answers)`.

A function that raises, takes too long (five minutes in a monitor or rollout, `step_timeout_s` in a training), ends its process, or gives what lies
beyond its ends was not judged: a gate refuses, an analysis and a monitor's check are inconclusive and say why, a trial has failed. It never passes.

Answer drift (prediction drift) is watched for every problem type by what its chapter names, each version by its own days; `rota monitor show`
has it as `drift` of `answer`. Of an answer of more than 50 numbers the first 50 are watched.

"""
_OVERVIEW = "| problem | what it is about | an answer is | a label is |\n|---|---|---|---|\n"
_METRICS = "| metric | better | between |\n|---|---|---|\n"


def markdown() -> str:
    """The whole page: one line for each problem type, then one chapter for each."""
    generated = "".join([_OVERVIEW, *map(_line, PROBLEMS.values()), *map(_chapter, PROBLEMS.values())])
    return _INTRODUCTION + generated.replace("<", "&lt;")


def _line(kind: ProblemType) -> str:
    cells = [f"[{kind.name}](#{kind.name})", kind.summary, kind.answer.name, kind.label.name]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _chapter(kind: ProblemType) -> str:
    outputs = {
        "never": "An answer is one value.",
        "always": "The numbers of an answer have names.",
        "maybe": "An answer is one number, or several with names.",
    }
    loss, *others = kind.losses
    also = f" (or {_listed(others)}, where a rollout names it)" if others else ""
    corrected = "as it is" if kind.excess is kind.losses[loss] else "corrected for how hard each row is"
    parts = [
        f"\n## {kind.name}\n\n{kind.summary[0].upper()}{kind.summary[1:]}. {outputs[kind.needs_outputs]}\n\n",
        f"- **Labels**: {kind.label.allowed}.\n",
        f"- **Champion and challenger** are compared by `{loss}`{also}; concept drift is looked for in the {kind.excess_name}, {corrected}.\n",
        f"- **Answer drift** shows in {_drift(kind)}.\n",
        f"- **Gates to start from**: {_gates(kind.gates)}. **Slices**: {kind.slices}.\n\n",
        _METRICS,
        *(_metric(name, metric, is_main=name == kind.main_metric) for name, metric in kind.metrics.items()),
    ]
    return "".join(parts)


def _drift(kind: ProblemType) -> str:
    """What a shift of answers shows in, in the words of the table's own function."""
    words = (kind.drift.__doc__ or "What its table makes of them.").strip().split("\n")[0].rstrip(".")
    return words[0].lower() + words[1:]


def _metric(name: str, metric: Metric, *, is_main: bool) -> str:
    better = "larger" if metric.higher_is_better else "smaller"
    return f"| `{name}`{' (the main one)' * is_main} | {better} | {_end(metric.lowest)} to {_end(metric.highest)} |\n"


def _end(end: float) -> str:
    return f"{end:g}".replace("inf", "∞")


def _gates(gates: Iterable[Gate]) -> str:
    return ", ".join(f'`rota.{gate.word}("{gate.metric}", {gate.bound:g})`' for gate in gates) or "none; what is good depends on the data"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
