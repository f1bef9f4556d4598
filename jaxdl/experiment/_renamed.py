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
  'adapter': "--task='adapter(kind={})'",
  'alpha': "--partition='...(alpha={})'",
  'bandwidth': "--task='scratch(bandwidth={})'",
  'branch_layers': "--models='deeponet(branch_layers=({},))'",
  'bundle_depth': "--task='bundled(bundle_depth={})'",
  'channels': "--models='...(channels={})'",
  'classes_per_client': "--partition='classes({})'",
  'data_path': '--problem=\'file("{}")\'',
  'depth': "'...(depth={})' in the spec of a task or data set",
  'dimension': "'...(dimension={})' in the spec of a task or problem",
  'examples_per_client': "--partition='...(samples_per_client={})'",
  'feature_layers': "--model='snnk(num_layers={})'",
  'file_format': "--problem='file(..., format={})'",
  'flatten': "--dataset='digits(flatten={})'",
  'fourier_padding': "--models='fno(domain_padding={})'",
  'gerf_a': "--features='cos(a={})'",
  'heterogeneity': '--heterogeneities={}',
  'hidden_layers': "--models='mlp(hidden_sizes=({},))'",
  'hidden_size': "--models='deeponet(branch_layers=({}, {}))'",
  'hidden_sizes': "--network='mlp(({},))'",
  'initial': "--task='adapter(kernel_init={})'",
  'iterations': '--models=\'mgno(iterations="{}")\'',
  'kappa': "--features='relu(kappa={})'",
  'kind': "--features={} or --task='kernel(kind={})'",
  'learning_rate': "--optimizer='adam({})' or 'sgd({})'",
  'length': "--task='kernel(length={})'",
  'method': "--models='...(method={})'",
  'model_options': "--models='model(option=value)'",
  'modes': "--models='fno(modes={})'",
  'multi_output': "--models='deeponet(multi_output={})'",
  'norm': "--network='resnet18(norm={})'",
  'normalize': "--features='...(normalize=True)'",
  'num_blocks': "--models='residual_mlp(num_layers={})'",
  'num_collocation': "--loss='equation(num_points={})'",
  'num_draws': "--task='kernel(num_draws={})'",
  'num_features': "--model='snnk(num_features={})'",
  'num_layers': "--models='...(num_layers={})'",
  'num_transitions': "--problem='navier_stokes(num_times={}, end_time={})'",
  'operator_loss': '--loss={}',
  'orthogonal': "--features='...(orthogonal=True)'",
  'padding': "--models='...(padding={})'",
  'periodic_features': "--models='deeponet(num_harmonics={})'",
  'physics': '--loss=equation',
  'pod_modes': "--models='pod_deeponet(num_modes={})'",
  'pretrain_rounds': "--task='...(pretrain_rounds={})'",
  'problem_options': "--problem='name({})'",
  'resolution': "--problem='name(resolution={})'",
  'ridge': "--model='snnk(ridge={})' or --task='bundled(ridge={})'",
  'schedule': "--optimizer='adam(..., schedule={})'",
  'shards_per_client': "--partition='shards({})'",
  'similarity': "--partition='similarity(similarity={})'",
  'split': "--features='cos(split={})'",
  'stacked_layers': "--models='stacked_deeponet(stacked_layers=({},))'",
  'subsample': "--problem='file(..., subsample={})'",
  'sweep_values': "--sweep='name(({},))'",
  'test_path': '--problem=\'file(..., test_path="{}")\'',
  'train_head': "--task='adapter(train_head={})'",
  'transfer': "--models='...(transfer={})' or --task='adapter(transfer={})'",
  'trunk_layers': "--models='deeponet(trunk_layers=({},))'",
  'uptrain_layers': "--task='uptrain(layers=({},))'",
  'use_bias': "--models='deeponet(use_bias={})'",
  'warm_up': "--optimizer='adam(..., schedule=warmup(share={}))'",
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
