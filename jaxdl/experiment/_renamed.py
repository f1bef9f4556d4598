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
_OPTIONS: Mapping[str, str] = {
  'activation': "'...(activation={})' in the spec of a network",
  'branch_layers': "--models='deeponet(branch_layers=({},))'",
  'channels': "--models='...(channels={})'",
  'data_path': '--problem=\'file("{}")\'',
  'feature_layers': "--model='snnk(num_layers={})'",
  'file_format': "--problem='file(..., format={})'",
  'fourier_padding': "--models='fno(domain_padding={})'",
  'heterogeneity': '--heterogeneities={}',
  'hidden_layers': "--models='mlp(hidden_sizes=({},))'",
  'hidden_size': "--models='deeponet(branch_layers=({}, {}))'",
  'iterations': '--models=\'mgno(iterations="{}")\'',
  'learning_rate': "--optimizer='adam({})' or 'sgd({})'",
  'method': "--models='...(method={})'",
  'model_options': "--models='model(option=value)'",
  'modes': "--models='fno(modes={})'",
  'multi_output': "--models='deeponet(multi_output={})'",
  'num_blocks': "--models='residual_mlp(num_layers={})'",
  'num_collocation': "--loss='equation(num_points={})'",
  'num_features': "--model='snnk(num_features={})'",
  'num_layers': "--models='...(num_layers={})'",
  'num_transitions': "--problem='navier_stokes(num_times={}, end_time={})'",
  'operator_loss': '--loss={}',
  'padding': "--models='...(padding={})'",
  'periodic_features': "--models='deeponet(num_harmonics={})'",
  'physics': '--loss=equation',
  'pod_modes': "--models='pod_deeponet(num_modes={})'",
  'problem_options': "--problem='name({})'",
  'resolution': "--problem='name(resolution={})'",
  'ridge': "--model='snnk(ridge={})'",
  'schedule': "--optimizer='adam(..., schedule={})'",
  'stacked_layers': "--models='stacked_deeponet(stacked_layers=({},))'",
  'subsample': "--problem='file(..., subsample={})'",
  'sweep_values': "--sweep='name(({},))'",
  'test_path': '--problem=\'file(..., test_path="{}")\'',
  'transfer': "--models='...(transfer={})'",
  'trunk_layers': "--models='deeponet(trunk_layers=({},))'",
  'use_bias': "--models='deeponet(use_bias={})'",
  'weight_decay': "--optimizer='adam(..., weight_decay={})'",
  'width': "--models='residual_mlp(channels={})' or 'seq2seq(channels={})'",
}


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
