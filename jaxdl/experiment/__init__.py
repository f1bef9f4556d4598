# SPDX-License-Identifier: Apache-2.0
"""Runs experiments: flags, rounds, metrics, checkpoints, plots.

An experiment is a pure description, an `Experiment` of four functions, and a
`Config` whose fields are knobs; `compare` makes one of algorithms and a
problem, and `train` runs one algorithm without either. A file of an experiment
ends

    run, main = runner.binary(Config, build)

    if __name__ == '__main__':
      main()

From Python:

    result = run(Config(num_rounds=50))          # no files
    result.rows[-1]['accuracy']

and as a command:

    python -m experiments.robust_training --rules='mean,nnm+krum' --seeds=0,1,2
    python -m experiments.robust_training --flagfile=preset.flags --smoke

The command writes a *workdir* (`--workdir`, runs/<name> by default):

- `config.json`: the knobs, versions, device and git revision.
- `metrics.jsonl`: one object per row, with the labels step (the round), split,
  variant and seed, then metrics. It is the truth, and holds no time of day: the
  same run gives the same bytes. Non-finite numbers are the strings "NaN",
  "Infinity" and "-Infinity".
- `plots/*.png`, drawn from the rows alone; `metrics.csv` and TensorBoard events
  (`--outputs=plots,csv,tensorboard`); a trace of some rounds
  (`--profile_rounds=3`).
- `checkpoints/`: the whole state, every `--checkpoint_seconds`, with checksums;
  the one before is taken where the newest is damaged.

The same command again goes on where the run was killed, on any number of
devices, and writes the same `metrics.jsonl` as a run that was not (bitwise on
the same devices; on any with `--reduction=gathered`, a flag of experiments that
heed it). Knobs that say only how to run may change between, and `--num_rounds`
may grow; another configuration needs `--if_exists=overwrite` or another
`--workdir`. Ctrl-C is answered at once, finishes the round, saves and exits
with 130; before the first round, or given twice, it stops at once. `--smoke`
shrinks everything but what the command line itself says. A flag that has no
effect beside the others is refused. Where the disk takes no more, one sentence
and exit code 2.

On a terminal there is a bar; elsewhere a line per evaluation with the best and
the worst variant and the time that is left. Speed knows of no compilation.

Modules: `runner` (Experiment, run, binary, knob, BaseConfig), `plots`.
"""

from jaxdl.experiment import config, runner
from jaxdl.experiment._checkpoint import read_state
from jaxdl.experiment._compare import (
  Moment,
  Variant,
  compare,
  metric_rows,
  reached,
  train,
)
from jaxdl.experiment.runner import (
  BaseConfig,
  Experiment,
  Interrupted,
  Result,
  Row,
  binary,
  knob,
  main,
  read_rows,
  record,
  run,
)

__all__ = [
  'BaseConfig',
  'Experiment',
  'Interrupted',
  'Moment',
  'Result',
  'Row',
  'Variant',
  'binary',
  'compare',
  'config',
  'knob',
  'main',
  'metric_rows',
  'reached',
  'read_rows',
  'read_state',
  'record',
  'run',
  'runner',
  'train',
]
