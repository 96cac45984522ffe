"""Every class of the installed transformers that can hold a causal LM, tiny, through a transfer.

python benchmarks/census.py --out benchmarks/results/census.json
python benchmarks/census.py --only qwen3_vl --only mllama
"""

import argparse
import gc
import importlib.metadata
import itertools
import json
import logging
import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer
from transformers.models.auto import modeling_auto

import saltlm
from saltlm.errors import SaltlmError
from saltlm.inspection.check import check

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import conftest
from tiny_models import PLMS

HIDDEN, HEADS, KV_HEADS, LAYERS = 32, 4, 2, 2
CASES = "replace-untied,extend-tied,swap-untied,replace-tied,extend-untied,swap-tied"
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")

# The first pattern that a key's whole name matches says what an integer becomes.
SIZES: list[tuple[str, int]] = [
    (r".*(per_layer_input)", 4),
    (r".*(kv_heads|key_value_heads|multi_query_group_num|num_kv_heads|num_query_groups)", KV_HEADS),
    (r".*linear_num_(key|value)_heads", HEADS),
    (r".*(n_heads?|num_heads?|attention_heads|num_.*_heads|mamba_n_heads)", HEADS),
    (r".*(rope_head_dim|rotary_dim)", 4),
    (r"qk_head_dim", 12),
    (r".*n_groups", 1),
    (r".*(head_dim|v_head_dim|head_size|d_kv|key_head_dim|attention_head_dim)", HIDDEN // HEADS),
    (r".*(intermediate_size|ffn_dim|ffn_hidden_size|d_ff|inner_dim|n_inner|mlp_dim|ffn_size)", 48),
    (r".*(q_lora_rank|kv_lora_rank|lora_rank|o_lora_rank|dt_rank|low_rank.*|.*_lora)", 8),
    (r".*(n_layers?|num_layers|hidden_layers|num_.*layers|depth|.*_layers)", LAYERS),
    (r".*(num_experts_per_tok|experts_per_token|top_?k|moe_k|topk|moe_topk|num_selected.*)", 2),
    (
        r"(n_group|topk_group|num_expert_group|n_shared_experts|num_shared_experts|moe_num_shared.*)",
        1,
    ),
    (r".*(num_experts|n_routed_experts|num_local_experts|moe_num_experts|n_experts)", 4),
    (
        r".*(hidden_size|d_model|n_embd|embed_dim|embedding_size|hidden_dim|width|proj_dim|out_dim)",
        HIDDEN,
    ),
    (r".*(output_dim|projection_dim|out_hidden_size|model_dim|emb_dim|channels|lru_width)", HIDDEN),
    (r"(dim|hidden|d_inner|embedding_dim|n_embed)", HIDDEN),
    (r".*(max_position_embeddings|n_positions|max_.*positions|seq_len|max_seq_length|n_ctx)", 128),
    (r".*image_size", 28),
    (r".*patch_size", 14),
    (r".*(temporal_patch_size)", 2),
]
ID = re.compile(r".*token_(id|ids|index|indices)$|.*(im|image|video|audio)_.*_id$")
SPECIALS = 24  # of the source's tokenizer, for settings that name tokens


def small(values: dict[str, Any], rows: int, main: int, free: Iterator[int]) -> dict[str, Any]:
    """Return settings of a tiny model.

    Args:
        values: the defaults of a configuration class.
        rows: of the text model's vocabulary.
        main: its default size.
        free: ids of special tokens, for settings that name tokens.
    """
    layers = next((values[k] for k in LAYER_KEYS if isinstance(values.get(k), int)), 0)
    kept = kinds_of_layers(values, layers)
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in LAYER_KEYS and isinstance(value, int):
            found[key] = min(value, len(kept))
        elif key == "per_layer_config" and isinstance(value, dict):
            found[key] = {
                kept.index(int(k)): small(v, rows, main, free)
                for k, v in value.items()
                if int(k) in kept
            }
        elif isinstance(value, dict):
            has_names = all(isinstance(name, str) for name in value)
            found[key] = small(value, rows, main, free) if has_names else value
        elif key == "mrope_section" and value:
            found[key] = [2, 1, 1]
        elif isinstance(value, list) and layers > 3 and len(value) == layers:
            found[key] = [resized(key, value[i], rows, main, free) for i in kept]
        elif key == "eos_token_id" and value is not None:
            found[key] = 0
        elif isinstance(value, list) and ID.fullmatch(key):
            found[key] = [next(free) for _ in value]
        else:
            found[key] = resized(key, value, rows, main, free)
    return found


def kinds_of_layers(values: dict[str, Any], layers: int) -> list[int]:
    """Return the numbers of a few layers, one of each kind."""
    lists = [v for v in values.values() if isinstance(v, list) and len(v) == layers > 3]
    kinds: dict[str, int] = {}
    for i in range(layers):
        kinds.setdefault(str([one[i] for one in lists]), i)
    chosen = sorted(kinds.values())[:4]
    for i in range(layers):
        if len(chosen) < LAYERS and i not in chosen:
            chosen.append(i)
    return sorted(chosen)


def resized(key: str, value: Any, rows: int, main: int, free: Iterator[int]) -> Any:
    """Return a setting of a tiny model."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if key.startswith("vocab_size") or key.endswith("vocab_size"):
        return rows if value >= main * 0.9 else min(value, 60)
    if key in ("pad_token_id", "eos_token_id"):
        return 0  # the tokenizer's; and positions of some classes begin behind it
    if ID.fullmatch(key):
        return next(free)
    found = next((size for pattern, size in SIZES if re.fullmatch(pattern, key)), value)
    return min(found, value) if value > 0 else value


ROPE = {
    "rope_type": "default",
    "rope_theta": 1e4,
    "mrope_section": [2, 1, 1],
    "partial_rotary_factor": 1.0,
}
# What the rules above do not make of the defaults.
TWEAKS: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 4, "mamba_d_head": 16, "attn_layer_indices": [1]},
    "granitemoehybrid": {
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "zamba": {"attention_hidden_size": 64, "attention_head_dim": 16, "num_key_value_heads": 4},
    "zamba2": {
        "n_mamba_heads": 4,
        "mamba_headdim": 16,
        "attention_head_dim": 16,
        "attention_hidden_size": 64,
        "layers_block_type": ["hybrid", "linear_attention"],
        "hybrid_layer_ids": [0],
    },
    "hrm_text": {"num_layers_per_stack": None},
    "cohere_compass": {"text_config.rope_parameters": {"full_attention": ROPE}},
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE}},
    "nemotron3_5_transcribe": {"blank_token_id": 59},
    "qwen3_omni_moe": {"talker_config.text_config.shared_expert_intermediate_size": 24},
    "xmod": {"default_language": "en_XX"},
    "mistral_large4": {"text_config.kv_source_layers": None},
    "step3p7": {"text_config.sliding_window": 8},
    "deepseek_ocr2": {
        "text_config.mlp_layer_types": ["dense", "sparse"],
        "text_config.num_experts_per_tok": 2,
    },
    "fun_asr_nano": {"adaptor_config.intermediate_size": 8},
    "kyutai_speech_to_text": {"codec_config.upsample_groups": 32},
    "qwen2_5_omni_thinker": {
        "vision_start_token_id": 905,
        "text_config.rope_parameters": ROPE,
    },
    "qwen3_omni_moe_thinker": {"vision_start_token_id": 905},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "aria": {"text_config.num_key_value_heads": 4},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0}},
    "diffusion_gemma": {
        "text_config.num_experts": 4,
        "text_config.top_k_experts": 2,
        "text_config.moe_intermediate_size": 24,
    },
    "muse_spark": {"audio_config.hidden_sizes": [8, 8, 8, 32], "audio_config.depths": [1, 1, 1, 1]},
    "falcon_h1": {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_ssm": 64},
    "mamba2": {"num_heads": 4, "head_dim": 16},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "hunyuan_vl": {"text_config.head_dim": 8, "text_config.rope_parameters": ROPE},
    "ministral": {"head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "xlnet": {"d_head": 8},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128, "num_blocks": 2},
    "reformer": {"axial_pos_embds_dim": [8, 24], "axial_pos_shape": [4, 32]},
    "glm5_next": {
        "text_config.num_key_value_heads": 4,
        "text_config.index_topk": 16,
        "text_config.qk_rope_head_dim": 0,
    },
    "granite4_vision": {
        "deepstack_layer_map": [[0, 0]],
        "vision_config.hidden_size": 64,
        "downsample_rate": "1/2",
    },
    "emu3": {"vocabulary_map": {"<image>": 0}},
    "chameleon": {"vocabulary_map": {"<image>": 0}},
    "blt": {
        "encoder_hash_byte_group_vocab": 300,
        "encoder_config.hidden_size_global": HIDDEN,
        "decoder_config.hidden_size_global": HIDDEN,
    },
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 16,
        "indexer_compress_ratio": 4,
        "ple_layer_ids": [1],
        "number_of_conv_states": 3,
        "ngram_vocab_size_base": 500,
        "eos_token_id": 0,
    },
    "gemma4_assistant": {"text_config.hidden_size_per_layer_input": 0},
    "molmo2": {"adapter_config.vision_feature_layer": [1, 0]},
}
TWEAKS |= dict.fromkeys(
    ("glm4v", "glm46v", "glm4v_moe", "glm_ocr", "qwen2_vl", "qwen2_5_vl", "paddleocr_vl"),
    {"text_config.rope_parameters": ROPE},
)
TWEAKS["qwen4_exp"] = {f"text_config.{key}": v for key, v in TWEAKS["qwen4_exp_text"].items()}
SECONDS = 120
KINDS = ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")


def classes() -> dict[str, type[hf.PreTrainedModel]]:
    """Return every class that can hold a causal LM, by its name."""
    found: dict[str, type[hf.PreTrainedModel]] = {}
    for kind in KINDS:
        for names in getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING_NAMES").values():
            for name in [names] if isinstance(names, str) else names:
                if isinstance(getattr(hf, name, None), type):
                    found[name] = getattr(hf, name)
    return dict(sorted(found.items()))


def tiny(cls: Any, tokenizer: Tokenizer, *, tied: bool) -> hf.PreTrainedModel:
    """Return a small random model of a class, for the tokens of a tokenizer."""
    config = cls.config_class(**settings(cls.config_class, tokenizer.get_vocab_size(), tied=tied))
    config.is_decoder = True
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in cls(config).parameters())
    if size > 4e7:
        raise ValueError(f"{size / 1e6:.0f} million parameters even as small as it gets")
    torch.manual_seed(5)
    model = cls(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and (parameter == parameter.flatten()[0]).all():
                parameter.add_(0.05 * torch.randn_like(parameter))
        table = getattr(model.get_input_embeddings(), "weight", None)
        if table is not None:
            table[(table == 0).all(1)] = 0.02  # the row of pad
    return model


def settings(config_class: Any, rows: int, *, tied: bool) -> dict[str, Any]:
    """Return what makes a tiny model of a configuration class."""
    default = config_class()
    main = getattr(default.get_text_config(), "vocab_size", rows)
    free = itertools.cycle(range(rows - SPECIALS, rows))
    values = small(default.to_dict(), rows, main, free)
    for key in ("model_type", "transformers_version", "architectures", "dtype"):
        values.pop(key, None)
    for path, value in TWEAKS.get(config_class.model_type, {}).items():
        *parts, key = path.split(".")
        section = values
        for part in parts:
            section = section[part]
        section[key] = value
    if "is_decoder" in values:
        values["is_decoder"] = True
    for section in parts_of(values):
        if {"kv_lora_rank", "num_key_value_heads", "num_attention_heads"} <= section.keys():
            section["num_key_value_heads"] = section["num_attention_heads"]
        if "qk_rope_head_dim" in section and "head_dim" in section:
            section["head_dim"] = section["qk_rope_head_dim"]
        if "tie_word_embeddings" in section or section is values:
            section["tie_word_embeddings"] = tied
    return values


def parts_of(values: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
    """Yield a mapping and all that are in it."""
    yield values
    for part in values.values():
        yield from parts_of(part) if isinstance(part, dict) else ()


def write_parents(work: Path) -> Tokenizer:
    """Write the tokenizer of every source, and the PLM; return the former."""
    tokenizer = conftest.train_bytelevel()
    tokenizer.add_special_tokens([f"<special_{i}>" for i in range(SPECIALS)])
    (work / "tokenizer").mkdir(parents=True)
    tokenizer.save(str(work / "tokenizer/tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (work / "tokenizer/tokenizer_config.json").write_text(json.dumps(settings))
    right = conftest.train_wordpiece()
    torch.manual_seed(3)
    PLMS["BERT"](right.get_vocab_size()).save_pretrained(work / "plm")
    right.save(str(work / "plm/tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    settings |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    (work / "plm/tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


def one(cls: Any, mode: str, work: Path, tokenizer: Tokenizer, *, tied: bool) -> dict[str, Any]:
    """Return what came of one class: not built, refused, proved, not proved, or an error."""
    done: dict[str, Any] = {"class": cls.__name__, "mode": mode, "tied": tied}
    source, out = work / "source", work / "out"
    for directory in (source, out):
        shutil.rmtree(directory, ignore_errors=True)
    signal.alarm(SECONDS)
    try:
        try:
            tiny(cls, tokenizer, tied=tied).save_pretrained(source)
        except Exception as error:
            return done | {"outcome": "not built", "why": why(error)}
        for file in (work / "tokenizer").iterdir():
            shutil.copyfile(file, source / file.name)
        options = {"corpus": [work / "text.txt"]} if mode == "swap" else {}
        options |= {} if mode == "replace" else {"keep": [work / "text.txt"]}
        result = saltlm.transfer(source, work / "plm", out, mode=mode, prove=True, **options)
        assert result.proof is not None
        if result.proof.missing is not None:
            return done | {"outcome": "not proved", "why": result.proof.missing}
        done |= {"states": result.proof.states, "logits": result.proof.logits}
        bad = [f"{f.check}: {f.detail}"[:200] for f in check(out) if f.outcome == "failed"]
        return done | {"outcome": "proved", "check": bad}
    except SaltlmError as error:
        return done | {"outcome": "refused", "why": error.what.replace(str(work), "")[:300]}
    except Exception as error:
        return done | {"outcome": "error", "why": why(error)}
    finally:
        signal.alarm(0)
        gc.collect()


def why(error: Exception) -> str:
    """Return an error in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="results as JSON; what is there is not run again")
    parser.add_argument("--only", action="append", help="classes with this in their names")
    parser.add_argument("--cases", default=CASES)
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _too_long)
    hf.logging.set_verbosity_error()
    hf.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    results = []
    if options.out and options.out.is_file():
        results = json.loads(options.out.read_text())["results"]
    known = {(r["class"], r["mode"], r["tied"]) for r in results}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        tokenizer = write_parents(work)
        (work / "text.txt").write_text("\n".join(conftest.CORPUS))
        gc.freeze()  # what is here by now is not looked through after every class
        for case in options.cases.split(","):
            mode, _, tied = case.partition("-")
            for name, cls in classes().items():
                is_wanted = not options.only or any(part in name for part in options.only)
                if not is_wanted or (name, mode, tied == "tied") in known:
                    continue
                results.append(one(cls, mode, work, tokenizer, tied=tied == "tied"))
                print(json.dumps(results[-1]), flush=True)
                if options.out:
                    write(options.out, results)
    print(json.dumps(Counter(f"{r['mode']} {r['outcome']}" for r in results)))


def write(file: Path, results: list[dict[str, Any]]) -> None:
    """Write the results with what they depend on."""
    versions = {name: importlib.metadata.version(name) for name in ("transformers", "torch")}
    kept = {"versions": versions, "classes": len(classes()), "results": results}
    file.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
