#!/usr/bin/env bash
# transformers 5.23.0: the rows that resize_token_embeddings says it samples are one row, the mean.
#
# Behaviour: the documentation, and a line in the log, say that added rows come "from a multivariate normal
#   distribution that has old embeddings' mean and covariance". The covariance is multiplied by 1e-9 first:
#   the spread of the added rows is 1/31623 of the old rows'. In bfloat16 that is below the last digit.
# Why it surprises: a sample with the old rows' covariance differs from row to row as the old rows do.
#   Of these rows, a model gives all added tokens the same logit, and a baseline that is described as a
#   sample of that distribution is the baseline "mean".
# Seen, 1000 rows of 64 values with a mean of 0.5 and a spread of 1, and 100 rows added: float32, spread
#   3.2e-05 of the old rows', logits of the old tokens span 1.01, of the added 2.1e-05; bfloat16, 2.0e-05,
#   3 different rows of 100, logits span 1.02 and 4.6e-05.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1 OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m pip install -qq --target "$work/packages" transformers==5.23.0 torch==2.13.0 numpy==2.4.6
cd "$work"

python3 - 2>/dev/null <<'PYTHON'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

ADDED = 100
for precision in (torch.float32, torch.bfloat16):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    model.get_input_embeddings().weight.data.normal_(mean=0.5, std=1)
    model.to(precision).resize_token_embeddings(1000 + ADDED)
    rows = model.get_input_embeddings().weight.detach().float()
    old, added = rows[:-ADDED], rows[-ADDED:]
    spread = float(added.std(0).mean() / old.std(0).mean())
    distinct = len(added.unique(dim=0))
    with torch.no_grad():
        logits = model(torch.tensor([[1, 2, 3]])).logits[0, -1].float()
    spans = [float(part.max() - part.min()) for part in (logits[:-ADDED], logits[-ADDED:])]
    print(f"{precision}: spread {spread:.1e} of the old, {distinct} distinct rows", end="; ")
    print(f"logits span {spans[0]:.2f} and {spans[1]:.1e}")
    assert spread < 1e-3
    assert spans[1] < 1e-2 * spans[0]
assert distinct < ADDED / 2
PYTHON
