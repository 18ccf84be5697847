"""Small tables for the tests."""

PLAIN = """
title: Made up
source: Nobody et al., Table 1
baseline: single
columns:
  - {key: semseg, header: Seg, task: semseg, metric: miou, scale: 100, digits: 2}
  - {key: depth, header: Dep, task: depth, metric: rmse_image_mean, digits: 3}
  - {key: gain, header: Δm %, quantity: gain, digits: 2}
  - {key: size, header: Params, quantity: parameters, as: percent, digits: 0}
recipe: {extends: _shared, tasks: [semseg, depth]}
rows:
  single:
    label: Single task
    paper: {semseg: 33.18, depth: 0.667, gain: 0.00}
    recipe: {model: {name: single_task}}
  multi: {paper: {semseg: 32, gain: -3.4}, recipe: {model: {name: multi_task}}}
  coarse: {readout: {of: multi, initial_stride: 32}, notes: [Looked into.]}
  other: {quoted: figures of their authors, paper: {semseg: 40}}
notes: [About the table.]
"""

PARTED = """
title: Made up
source: Nobody et al., Table 2
parts:
  left:
    label: Left
    baseline: left_single
    columns: [{key: semseg, header: Seg, task: semseg, metric: miou}]
    recipe: {extends: rooms/single_task, epochs: 2}
    rows:
      left_single:
      left_multi: {recipe: {extends: rooms/multi_task}}
  right:
    label: Right
    columns: [{key: depth, header: Dep, task: depth, metric: rmse}]
    recipe: {extends: rooms/single_task, tasks: [depth]}
    rows: {right_single: {paper: {depth: 0.5}}}
"""
