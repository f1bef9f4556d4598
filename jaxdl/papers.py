# SPDX-License-Identifier: Apache-2.0
"""The index: which paper's system is where.

A paper is a row here, never a folder. `table()` is the method table of the
README; a test keeps the two equal and checks that every name exists.
"""

from typing import NamedTuple


class Paper(NamedTuple):
  """One row of the index.

  Attributes:
    key: short name; claims are in `experiments/claims/<key>.py`.
    title: what the row is about.
    source: authors and year.
    arxiv: identifier, or '' if there is none.
    functions: public names below `jaxdl`.
    experiment: binary below `experiments`.
    claims: names of claims that `experiments.reproduce` checks.
    colab: notebook below `colabs`, or ''.
  """

  key: str
  title: str
  source: str
  arxiv: str
  functions: tuple[str, ...]
  experiment: str
  claims: tuple[str, ...] = ()
  colab: str = ''


PAPERS = (
  Paper(
    key='byzantine_baselines',
    title='Robust aggregation rules, pre-aggregators and attacks',
    source='Blanchard 2017, Yin 2018, Karimireddy 2021, Allouah 2023 and more',
    arxiv='2302.01772',
    functions=(
      'aggregators.krum',
      'aggregators.multi_krum',
      'aggregators.bulyan',
      'aggregators.median',
      'aggregators.trimmed_mean',
      'aggregators.meamed',
      'aggregators.phocas',
      'aggregators.geometric_median',
      'aggregators.mda',
      'aggregators.smea',
      'aggregators.caf',
      'aggregators.cge',
      'aggregators.centered_clipping',
      'aggregators.dnc',
      'aggregators.signguard',
      'aggregators.foolsgold',
      'aggregators.fltrust',
      'aggregators.nnm',
      'aggregators.bucketing',
      'aggregators.clipping',
      'aggregators.arc',
      'attacks.alie',
      'attacks.ipm',
      'attacks.min_max',
      'attacks.mimic',
      'attacks.fang',
      'federated.robust_sgd',
    ),
    experiment='robust_training',
    claims=(
      'robust_rules_survive',
      'mean_is_beaten',
      'mixing_helps',
      'survives_kills',
    ),
    colab='01_robust_aggregation',
  ),
  Paper(
    key='flag_aggregator',
    title='Flag aggregator',
    source='Almasi et al. 2024',
    arxiv='2302.05865',
    functions=(
      'aggregators.flag_aggregator',
      'aggregators.flag_state',
      'aggregators.flag_mean',
    ),
    experiment='robust_training',
    claims=(
      'mean_breaks',
      'flag_holds',
      'flag_beats_coordinate_rules',
      'raw_form_collapses',
    ),
    colab='01_robust_aggregation',
  ),
  Paper(
    key='monna',
    title='MoNNA: robust collaborative learning without a server',
    source='Farhadkhani et al. 2023',
    arxiv='2209.10931',
    functions=(
      'decentralized.all_to_all_sgd',
      'decentralized.receiver_rule',
      'aggregators.nearest_neighbor_averaging',
    ),
    experiment='monna',
    claims=(
      'monna_holds',
      'momentum_is_needed',
      'drift_is_smaller',
      'ratios_are_bounded',
    ),
    colab='01_robust_aggregation',
  ),
  Paper(
    key='mixing_matrices',
    title='Topologies, mixing matrices and gossip optimisers',
    source='Lian 2017, Xiao and Boyd 2004, Takezawa 2023 and more',
    arxiv='1705.09056',
    functions=(
      'mixing.make_mixer',
      'mixing.make_graph',
      'mixing.from_matrix',
      'mixing.spectra.spectral_gap',
      'mixing.shard',
      'compression.make_compressor',
      'decentralized.gossip_sgd',
      'decentralized.choco_sgd',
      'decentralized.d_squared',
      'decentralized.extra',
      'decentralized.gradient_tracking',
      'decentralized.push_sum',
      'decentralized.matcha_sgd',
      'decentralized.epidemic_learning',
      'decentralized.asynchronous_gossip',
      'decentralized.swarm_sgd',
      'decentralized.periodic_averaging',
      'decentralized.quasi_global_momentum',
    ),
    experiment='decentralized_training',
    claims=(
      'finite_time',
      'rounds_of_sixteen',
      'dpsgd_is_biased',
      'exact_methods',
      'd_squared_needs_its_bound',
      'quasi_global_helps',
      'base_beats_one_peer',
      'one_peer_matches_static',
      'fewer_messages',
    ),
    colab='02_mixing_matrices',
  ),
  Paper(
    key='modest',
    title='MoDeST: decentralised sampling',
    source='de Vos et al. 2023',
    arxiv='2302.13837',
    functions=(
      'decentralized.sampling.sampling_protocol',
      'decentralized.sampling_sgd',
      'decentralized.sampling.select_sample',
      'decentralized.sampling.merge_views',
    ),
    experiment='modest',
    claims=(
      'same_models_as_a_server',
      'survives_a_crash',
      'fewer_bytes_than_gossip',
      'as_fast_as_a_server',
      'fraction_shortens_rounds',
    ),
  ),
  Paper(
    key='single_merging',
    title='Sparse gossip and a single merge',
    source='Zhu et al. 2025',
    arxiv='2507.06542',
    functions=(
      'decentralized.local_then_gossip',
      'mixing.merge',
      'decentralized.merging.merge_by_gossip',
      'decentralized.merging.mergeability',
      'decentralized.merging.sharpness_alignment',
      'decentralized.merging.polygon',
    ),
    experiment='single_merging',
    claims=(
      'one_merge_recovers',
      'silence_cannot_be_merged',
      'silence_merges_worse',
      'last_window_is_best',
      'merged_is_near_server',
      'gap_shrinks_with_even_data',
      'mergeable_all_along',
      'few_gossip_steps_merge',
    ),
  ),
  Paper(
    key='vanishing_variance',
    title='Variance-corrected averaging',
    source='Tian et al. 2024',
    arxiv='2404.04616',
    functions=(
      'mixing.variance.variance_corrected_average',
      'mixing.variance.variance_corrected',
      'decentralized.buffered_gossip',
      'mixing.variance.rescale_to_variance',
    ),
    experiment='vanishing_variance',
    claims=(
      'plain_gossip_stalls',
      'corrected_gossip_learns',
      'corrected_matches_federated',
      'targets_agree',
      'variance_follows_theory',
      'variance_ends_at_one_over_n',
      'depth_delays_plain_gossip',
      'uneven_data_are_no_obstacle',
    ),
  ),
  Paper(
    key='just_one_byte',
    title='One byte per gradient',
    source='Zelikman et al. 2023',
    arxiv='2306.10015',
    functions=(
      'decentralized.one_byte_sgd',
      'decentralized.one_byte.replay',
      'decentralized.one_byte.message_log',
      'compression.scalar_codec',
    ),
    experiment='just_one_byte',
    claims=(
      'byte_matches_float',
      'more_machines_learn_faster',
      'more_machines_take_larger_steps',
      'bytes_are_few',
      'replicas_are_identical',
      'joining_and_leaving_costs_nothing',
      'fine_tunes_a_transformer',
    ),
  ),
  Paper(
    key='deeponet',
    title='DeepONet: branch and trunk networks',
    source='Lu et al. 2021, 2022; Wang et al. 2021',
    arxiv='1910.03193',
    functions=(
      'operators.deeponet',
      'operators.stacked_branch',
      'operators.pod_deeponet',
      'operators.pod_basis',
      'operators.physics_task',
      'operators.hard_boundary',
      'operators.fnn',
      'operators.resnet',
      'operators.seq2seq',
      'pde.sets.make_operator_dataset',
    ),
    experiment='deeponet',
    claims=(
      'deeponet_beats_fnn',
      'smaller_gap_than_stacked',
      'deeper_trunk_helps',
      'error_falls_with_data',
      'interpolation_error_is_second_order',
      'enough_sensors',
      'learns_without_labels',
      'pod_beats_plain_on_burgers',
      'speed_up_over_solvers_is_small',
    ),
    colab='03_operator_learning',
  ),
  Paper(
    key='mgno',
    title='MgNO: operators as learned multigrid cycles',
    source='He, Liu and Xu 2024',
    arxiv='2310.19809',
    functions=(
      'operators.mgno',
      'operators.v_cycle',
      'operators.mgno_navier_stokes',
      'operators.mgno_helmholtz',
      'operators.rollout',
      'operators.relative_h1_spectral',
      'operators.mgnet',
      'pde.solve_darcy',
    ),
    experiment='mgno',
    claims=(
      'parameter_count',
      'bpx_is_exact',
      'textbook_cycle',
      'levels_help',
      'multilevel_helps',
      'h1_training_helps',
      'on_a_par_with_fno',
      'cnn_is_far_behind',
    ),
    colab='03_operator_learning',
  ),
  Paper(
    key='snnk',
    title='Scalable neural network kernels',
    source='Sehanobish et al. 2024',
    arxiv='2310.13225',
    functions=(
      'operators.sample_urf',
      'operators.urf_phi',
      'operators.urf_psi',
      'operators.relu_features',
      'operators.feature_map',
      'operators.snnk_dense',
      'operators.snnk_adapter',
      'operators.uptrain',
      'operators.bundle',
      'operators.bundled_network',
      'operators.closed_form_readout',
    ),
    experiment='snnk',
    claims=(
      'closed_form_equals_mlp',
      'closed_form_loses_in_mse',
      'depth_costs_accuracy',
      'orthogonal_is_better',
      'variance_is_as_derived',
      'bottleneck_wins_from_scratch',
      'five_times_fewer',
      'adapter_equals_bottleneck',
      'uptraining_equals_low_rank',
      'clients_fit_the_same',
    ),
  ),
  Paper(
    key='operator_baselines',
    title='Fourier and convolutional operators, problems and losses',
    source='Li et al. 2021, Lu et al. 2022, Takamoto et al. 2022',
    arxiv='2010.08895',
    functions=(
      'operators.fno',
      'operators.unet',
      'operators.dilated_resnet',
      'operators.make_model',
      'operators.pdebench_metrics',
      'operators.fit_normalizer',
      'pde.solve_burgers',
      'pde.solve_navier_stokes',
      'pde.sets.load_pdebench',
    ),
    experiment='operator_zoo',
    claims=(
      'fno_is_flat',
      'stencils_are_not',
      'published_error',
      'boundary_is_exact',
      'parameter_counts',
    ),
  ),
  Paper(
    key='federated_operators',
    title='Operator networks trained over clients',
    source='DeepONet: Lu et al. 2021',
    arxiv='1910.03193',
    functions=(
      'operators.deeponet',
      'operators.mgno',
      'operators.fno',
      'operators.bundled_network',
      'operators.readout_statistics',
      'operators.operator_task',
      'federated.robust_sgd',
      'decentralized.gossip_sgd',
    ),
    experiment='federated_operators',
    claims=(
      'mean_breaks',
      'robust_rules_recover',
      'sparse_graphs_cost',
      'closed_form_is_exact',
      'one_round_is_enough',
    ),
    colab='03_operator_learning',
  ),
)


def table() -> str:
  """The method table of the README.

  Returns:
    Markdown.
  """
  lines = [
    '| method | source | functions in `jaxdl` | binary | colab |',
    '|---|---|---|---|---|',
  ]
  for paper in PAPERS:
    source = paper.source
    if paper.arxiv:
      source = f'[{source}](https://arxiv.org/abs/{paper.arxiv})'
    functions = ', '.join(f'`{name}`' for name in paper.functions[:6])
    if len(paper.functions) > 6:
      functions += f' and {len(paper.functions) - 6} more'
    colab = (
      f'[{paper.colab}](colabs/{paper.colab}.ipynb)' if paper.colab else ''
    )
    lines.append(
      f'| {paper.title} | {source} | {functions} | '
      f'[`{paper.experiment}`](experiments/{paper.experiment}.py) | {colab} |'
    )
  return '\n'.join(lines)
