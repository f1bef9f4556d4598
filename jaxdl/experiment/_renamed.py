# SPDX-License-Identifier: Apache-2.0
"""Flags of earlier versions, and how what they said is written now."""

import difflib
import re
from collections.abc import Collection, Mapping

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
  'activity_window': "--methods='...(activity_window={})'",
  'adapter': "--task='adapter(kind={})'",
  'aggregate': "--methods='one_byte(aggregate={})'",
  'aggregator': '--rules={}',
  'aggregation_timeout_s': "--methods='...(aggregation_timeout_s={})'",
  'allow_unstable': "--variants='d_squared(allow_unstable=True)@ring'",
  'alpha': "--partition='...(alpha={})'",
  'attack_scale': "--attack='...(scale={})'",
  'attack_search': "--attack='...(search={})'",
  'bandwidth': "--task='scratch(bandwidth={})'",
  'beta': '--self_weight={}',
  'branch_layers': "--models='deeponet(branch_layers=({},))'",
  'bucket_size': "--rules='bucketing(bucket_size={})+krum'",
  'budget': "'...(budget={})' in the spec of a topology",
  'buffer_size': "--turns='turns(buffer_size={})'",
  'bundle_depth': "--task='bundled(bundle_depth={})'",
  'channels': "--models='...(channels={})'",
  'clip_norm': "--algorithm='fedsgd(clip_norm={})'",
  'churn_fraction': "--churn='...(fraction={})'",
  'churn_round': "--churn='...(at={})'",
  'classes_per_client': "--partition='classes({})'",
  'clip': "--optimizer='...(clip={})'",
  'clip_radius': (
    "--rules='clipping(clip_radius={})+krum' or --methods='scc(clip_radius={})'"
  ),
  'codec': "--methods='one_byte(codec={})'",
  'codec_base': "--methods='one_byte(codec=log_int8(base={}))'",
  'codec_scale': "--methods='one_byte(codec=linear_int8(scale={}))'",
  'compressor': "--variants='choco_sgd(compress={})@ring'",
  'compute_s': "--world='...(compute_s={})'",
  'compute_spread': "--world='...(compute_spread={})'",
  'consensus_step': "--variants='choco_sgd(consensus_step={})@ring'",
  'correct_biases': "--methods='corrected(biases=True)'",
  'data_path': '--problem=\'file("{}")\'',
  'data_sampling': "--partition='resample(...)', 'fixed(...)' or a way to deal",
  'degree': "'...(degree={})' in the spec of a topology",
  'depth': "'...(depth={})' in the spec of a task or data set",
  'diff_init': '--nosame_start',
  'dimension': "'...(dimension={})' in the spec of a task or problem",
  'distribution': "--methods='one_byte(distribution={})'",
  'examples_per_client': (
    "--partition='...(samples_per_client={})' or "
    "'fixed(examples_per_client={})'"
  ),
  'feature_layers': "--model='snnk(num_layers={})'",
  'file_format': "--problem='file(..., format={})'",
  'final_merge_rounds': "--final_merge='exponential(rounds={})'",
  'flag_iters': "--rules='flag(num_iters={})'",
  'flag_normalize': "--rules='flag(normalize={})'",
  'flag_reg': "--rules='flag(reg={})'",
  'flag_rescale': "--rules='flag(rescale={})'",
  'flag_scale': "--rules='flag(scale={})'",
  'flatten': "--dataset='digits(flatten={})'",
  'fourier_padding': "--models='fno(domain_padding={})'",
  'gerf_a': "--features='cos(a={})'",
  'gossip_graph': "--gossip='pull(graph={})'",
  'gossip_period_s': "--methods='gossip(period_s={})'",
  'gradient_noise': "--task='quadratics(gradient_noise={})'",
  'graph_file': '\'file("{}")\' as a topology',
  'heterogeneity': '--heterogeneities={}',
  'hidden_layers': "--models='mlp(hidden_sizes=({},))'",
  'hidden_size': "--models='deeponet(branch_layers=({}, {}))'",
  'hidden_sizes': "--network='mlp(({},))'",
  'initial': "--task='adapter(kernel_init={})'",
  'iterations': '--models=\'mgno(iterations="{}")\'',
  'kappa': "--features='relu(kappa={})'",
  'keep': "--variants='choco_sgd(compress=top_k(keep={}))@ring'",
  'kernel_start': '--kernel_init={}',
  'kind': "--features={} or --task='kernel(kind={})'",
  'landscape': "--measures='landscape(of=({},))'",
  'landscape_resolution': "--measures='landscape(resolution={})'",
  'latency_file': '--world=\'file("{}")\'',
  'latency_s': "--world='drawn(latency_s={})'",
  'learning_rate': "--optimizer='adam({})' or 'sgd({})'",
  'length': "--task='kernel(length={})'",
  'levels': "--variants='choco_sgd(compress=qsgd(num_levels={}))@ring'",
  'local_epochs': "--work='epochs({})'",
  'local_steps': (
    "--work='steps({})' or --variants='swarm_sgd(mean_local_steps={})@ring'"
  ),
  'lr_decay': (
    "--optimizer='...(schedule=steps(factor={}))' or "
    "--learning_rate='stepped_inverse(decay={})'"
  ),
  'lr_decay_at': "--optimizer='...(schedule=steps(at=({},)))'",
  'lr_decay_every': "--learning_rate='stepped_inverse(every={})'",
  'max_degree': "'...(max_degree={})' in the spec of a topology",
  'megabits_per_s': "--world='...(megabits_per_s={})'",
  'method': "--models='...(method={})'",
  'min_models': "--methods='...(min_models={})'",
  'model_options': "--models='model(option=value)'",
  'modes': "--models='fno(modes={})'",
  'momentum': (
    "--optimizer='sgd(..., momentum={})' or --methods='...(momentum={})'"
  ),
  'move': "'...(move={})' in the spec of a topology",
  'multi_output': "--models='deeponet(multi_output={})'",
  'noallow_unstable': "--variants='d_squared(allow_unstable=False)@ring'",
  'nodiff_init': '--same_start',
  'noflag_normalize': "--rules='flag(normalize=False)'",
  'noflatten': "--dataset='digits(flatten=False)'",
  'norm': "--network='resnet18(norm={})'",
  'normalize': "--features='...(normalize=True)'",
  'nosharpness': '--measures=landscape',
  'num_aggregators': "--methods='...(num_aggregators={})'",
  'num_blocks': "--models='residual_mlp(num_layers={})'",
  'num_collocation': "--loss='equation(num_points={})'",
  'num_components': "--rules='flag(num_components={})'",
  'num_draws': "--task='kernel(num_draws={})'",
  'num_features': "--model='snnk(num_features={})' or --num_rf={}",
  'num_heads': "--dataset='sentiment(num_heads={})'",
  'num_layers': "--models='...(num_layers={})'",
  'num_neighbors': '--rules=\'krum(num_neighbors="{}")\'',
  'num_shifts': "'...(num_shifts={})' in the spec of a topology",
  'num_texts': "--dataset='sentiment(num_texts={})'",
  'num_transitions': "--problem='navier_stokes(num_times={}, end_time={})'",
  'on_stall': "--methods='...(on_stall={})'",
  'operator_loss': '--loss={}',
  'order': "--variants='gossip_sgd(order={})@ring'",
  'orthogonal': "--features='...(orthogonal=True)'",
  'padding': "--models='...(padding={})'",
  'period': "--variants='...(period={})'",
  'periodic_features': "--models='deeponet(num_harmonics={})'",
  'physics': '--loss=equation',
  'ping_again_s': "--methods='...(ping_again_s={})'",
  'ping_timeout_s': (
    "--methods='modest(ping_timeout_s={})' or 'dsgd(patience_s={})'"
  ),
  'pixels': "--dataset='digits(pixels={})'",
  'pod_modes': "--models='pod_deeponet(num_modes={})'",
  'point1': "--variants='gossip(schedule=window(point={}))'",
  'pre_aggregators': "--rules='{}+krum', in front of every rule",
  'pretrain_batch_size': "--pretraining='adam(batch_size={})'",
  'pretrain_rate': "--pretraining='adam({})'",
  'pretrain_rounds': "--task='...(pretrain_rounds={})'",
  'pretrain_steps': "--pretraining='adam(steps={})'",
  'probability': "'...(probability={})' in the spec of a topology",
  'problem_options': "--problem='name({})'",
  'r_end': "--gossip='...(dense={})'",
  'r_start': "--gossip='...(rate={})'",
  'recalibration_batches': "--final_merge='...(num_batches={})'",
  'resolution': "--problem='name(resolution={})'",
  'retry_s': "--methods='...(retry_s={})'",
  'ridge': "--model='snnk(ridge={})' or --task='bundled(ridge={})'",
  'robust_rule': "--variants='robust_gossip(rule={})@ring'",
  'rows': "'...(rows={})' in the spec of a topology",
  'sample_rate': "--methods='sampled(rate={})'",
  'sample_size': "--methods='...(sample_size={})'",
  'schedule': (
    "--optimizer='...(schedule={})' or --variants='gossip(schedule={})'"
  ),
  'send_every': "--turns='turns(send_every={})'",
  'sequence_length': "--dataset='sentiment(length={})'",
  'sgd_learning_rate': "--methods='sgd({})'",
  'shards_per_client': "--partition='shards({})'",
  'sharpness': '--measures=sharpness',
  'similarity': "--partition='similarity(similarity={})'",
  'split': "--features='cos(split={})'",
  'spread': "--task='quadratics(spread={})'",
  'stacked_layers': "--models='stacked_deeponet(stacked_layers=({},))'",
  'staleness': "--variants='asynchronous_gossip(staleness={})@ring'",
  'step_size': "'...(step_size={})' in the spec of a topology",
  'stochastic_rounding': "--methods='one_byte(stochastic_rounding=True)'",
  'subsample': "--problem='file(..., subsample={})'",
  'success_fraction': "--methods='...(success_fraction={})'",
  'sweep_values': "--sweep='name(({},))'",
  'test_path': '--problem=\'file(..., test_path="{}")\'',
  'text_bytes': "--pretraining='adam(text_bytes={})'",
  'threshold': "--methods='...(threshold={})'",
  'topology': "--methods='dsgd(topology={})' or --variants='...@{}'",
  'trace_file': '--churn=\'trace("{}")\'',
  'train_head': "--task='adapter(train_head={})'",
  'transfer': "--models='...(transfer={})' or --task='adapter(transfer={})'",
  'trunk_layers': "--models='deeponet(trunk_layers=({},))'",
  'turn_high': "--turns='turns(high={})'",
  'turn_low': "--turns='turns(low={})'",
  'uptrain_layers': "--task='uptrain(layers=({},))'",
  'use_bias': "--models='deeponet(use_bias={})'",
  'vc_eps': "--methods='corrected(eps={})'",
  'vc_strength': "--methods='corrected(strength={})'",
  'vc_target': "--methods='corrected(target={})'",
  'warm_up': "--optimizer='adam(..., schedule=warmup(share={}))'",
  'weight_decay': "--optimizer='...(weight_decay={})'",
  'weights': "'...(weights={})' in the spec of a topology",
  'width': (
    "--models='residual_mlp(channels={})' or --models='seq2seq(channels={})'"
  ),
  'window_size': "--gossip='...(window={})'",
  'worker_momentum': "--algorithm='fedsgd(momentum={})'",
}


def remedy(
  name: str,
  value: str = '',
  *,
  known: Collection[str] = (),
  near: bool = False,
) -> str:
  """Says how a flag of an earlier version is written now.

  Args:
    name: of the flag, without dashes.
    value: what it was given, if known.
    known: flags that there are; of several ways, those of other flags are left
      out, and options of parts where one of them has almost that name.
    near: whether a name that is nearly one will do.

  Returns:
    One sentence, or nothing for a name that never was a flag, or one of other
    binaries alone.

  Example:
    >>> remedy('overwrite')
    'there is no flag --overwrite any more: write --if_exists=overwrite.'
    >>> remedy('seed', '3')
    'there is no flag --seed any more: write --seeds=3.'
    >>> remedy('flag_iter', '3', near=True)
    "there is no flag --flag_iters any more: write --rules='flag(num_iters=3)'."
  """
  ways = {**_OPTIONS, **_EVERYWHERE}
  if near and name not in ways:
    name, *_ = [*difflib.get_close_matches(name, ways, 1, cutoff=0.85), '']
  if name not in ways:
    return ''
  new = ways[name]
  # A flag of almost that name says more than an option of some part.
  own = difflib.get_close_matches(name, list(known), 1, cutoff=0.85)
  here = [
    way
    for way in new.split(' or ')
    for needed in [re.findall(r'--(\w+)', way)]
    if all(flag in known for flag in needed) and (needed or not own)
  ]
  if known and not here:
    return ''  # It was a flag of other binaries.
  new = ' or '.join(here) if known else new
  new = new.replace('{}', value or '...')
  return f'there is no flag --{name} any more: write {new}.'
