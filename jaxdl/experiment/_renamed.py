# SPDX-License-Identifier: Apache-2.0
"""Flags of earlier versions, and how what they said is written now."""

from collections.abc import Mapping

# Flags of every binary; `{}` stands for the old value.
_EVERYWHERE = {
  'seed': '--seeds={}',
  'overwrite': '--if_exists=overwrite',
  'resume': '--if_exists=resume or refuse',
  'noresume': '--if_exists=refuse',
  'plots': '--outputs=plots',
  'noplots': '--outputs=',
  'csv': '--outputs=plots,csv',
  'tensorboard': '--outputs=plots,tensorboard',
  'coordinator': '--process=k/n@host:port',
  'num_processes': '--process=k/n@host:port',
  'process_id': '--process=k/n@host:port',
}
_OPTIONS: Mapping[str, str] = {}


def remedy(name: str, value: str = '') -> str:
  """Says how a flag of an earlier version is written now.

  Args:
    name: of the flag, without dashes.
    value: what it was given, if known.

  Returns:
    One sentence, or nothing for a name that never was a flag.

  Example:
    >>> remedy('overwrite')
    'there is no flag --overwrite any more: write --if_exists=overwrite.'
    >>> remedy('seed', '3')
    'there is no flag --seed any more: write --seeds=3.'
  """
  new = _EVERYWHERE.get(name) or _OPTIONS.get(name)
  if not new:
    return ''
  new = new.replace('{}', value or '...')
  return f'there is no flag --{name} any more: write {new}.'
