"""PyTorch's step of the decoder of examples/jobs/decoder_1b.pbtxt, as its users would write it.

bf16 under autocast with fp32 masters, torch.compile, scaled_dot_product_attention by cuDNN, fused AdamW,
no clipping, random tokens. One GPU; with two, data parallel by FSDP2 as well. Prints a JSON line a mesh:
the median of the steps after warm-up. Run by benchmarks/gpu.sh.
"""

import json
import os
import sys
import time

import torch
import torch.multiprocessing
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

LAYERS, HIDDEN, HEADS, FFN, VOCABULARY, SEQUENCE, BATCH = 24, 2048, 16, 5632, 32000, 4096, 4
WARM_UP, STEPS = 8, 12


class RmsNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x):
        return F.rms_norm(x, (HIDDEN,), self.weight.to(x.dtype), 1e-5)


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm, self.mlp_norm = RmsNorm(), RmsNorm()
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN, bias=False)
        self.out = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.gate_up = nn.Linear(HIDDEN, 2 * FFN, bias=False)
        self.down = nn.Linear(FFN, HIDDEN, bias=False)

    def forward(self, x, cos, sin):
        b, s, _ = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(b, s, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, s, HIDDEN))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, HIDDEN)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = RmsNorm()
        self.head = nn.Linear(HIDDEN, VOCABULARY, bias=False)

    def forward(self, tokens, targets):
        half = HIDDEN // HEADS // 2
        rates = 10000.0 ** (-torch.arange(half, device=tokens.device) / half)
        angles = torch.arange(tokens.shape[1], device=tokens.device)[:, None] * rates
        cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
        x = self.embedding(tokens).bfloat16()
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def measure(rank, ranks):
    torch.cuda.set_device(rank)
    torch.manual_seed(1)
    with torch.device("cuda"):
        model = Decoder()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)
    count = sum(p.numel() for p in model.parameters()) - model.embedding.weight.numel()
    if ranks > 1:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        torch.distributed.init_process_group("nccl", rank=rank, world_size=ranks)
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16)
        for block in model.blocks:
            block.compile()
            fully_shard(block, mp_policy=policy, reshard_after_forward=False)
        fully_shard(model, mp_policy=policy, reshard_after_forward=False)
        run = model
    else:
        run = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    times, loss = [], None
    for _ in range(WARM_UP + STEPS):
        tokens = torch.randint(VOCABULARY, (BATCH, SEQUENCE + 1), device="cuda")
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = run(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    if rank == 0:
        middle = sorted(times[WARM_UP:])[STEPS // 2]
        flops = 6 * count + 6 * LAYERS * HIDDEN * SEQUENCE
        print(json.dumps({
            "torch": f"data:{ranks}", "version": torch.__version__, "loss": float(loss),
            "tokens_per_s": ranks * BATCH * SEQUENCE / middle, "step_ms": middle * 1e3,
            "tflops_per_gpu": BATCH * SEQUENCE * flops / middle / 1e12,
            "mem_peak_bytes": torch.cuda.max_memory_allocated()}), flush=True)
    if ranks > 1:
        torch.distributed.destroy_process_group()


def main():
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29511")
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
    for ranks in (1, 2):
        if ranks <= torch.cuda.device_count():
            torch.multiprocessing.spawn(measure, (ranks,), nprocs=ranks)


if __name__ == "__main__":
    sys.exit(main())
