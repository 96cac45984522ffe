"""saltlm gives an English-centric LLM a new language by recycling a small model of that language.

Each verb of the command line is a function here, with the same options; `transfer_embeddings` is
the transfer on matrices and tokenizers in memory. The names load on first use, so that
``import saltlm`` stays instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

from saltlm.version import __version__

if TYPE_CHECKING:
    from saltlm.adaptation.adapt import adapt
    from saltlm.adaptation.config import AdaptConfig
    from saltlm.adaptation.merge import MergeResult, merge
    from saltlm.adaptation.result import AdaptResult
    from saltlm.auxiliary.make import VectorFile, vectors
    from saltlm.auxiliary.vectors import AuxiliaryVectors
    from saltlm.comparison.compare import compare
    from saltlm.comparison.results import Comparison
    from saltlm.comparison.score import Scores, score
    from saltlm.config.transfer import FasttextConfig, RowsConfig, TransferConfig
    from saltlm.errors import SaltlmError
    from saltlm.evaluation.config import SuiteConfig
    from saltlm.evaluation.evaluate import evaluate
    from saltlm.evaluation.results import Evaluation
    from saltlm.files.caches import Cache, cache
    from saltlm.inspection.check import check
    from saltlm.inspection.explain import Explanation, explain
    from saltlm.inspection.finding import Check
    from saltlm.inspection.pair import Inspection, inspect
    from saltlm.inspection.report.report import Report, report
    from saltlm.inspection.report.watch import Watch, watch
    from saltlm.models.gguf_export import Export, export
    from saltlm.pretraining.config import PretrainConfig
    from saltlm.pretraining.pretrain import PretrainResult, pretrain
    from saltlm.recipes.config import RecipeConfig
    from saltlm.recipes.plan import RecipePlan
    from saltlm.recipes.recipe import RecipeResult, recipe
    from saltlm.record.upload import Push, push
    from saltlm.tokenizer.special_tokens import LoadedTokenizer
    from saltlm.vocabulary_transfer.result import TransferResult
    from saltlm.vocabulary_transfer.transfer import transfer, transfer_embeddings

_HOMES = {
    "AdaptConfig": "saltlm.adaptation.config",
    "AdaptResult": "saltlm.adaptation.result",
    "AuxiliaryVectors": "saltlm.auxiliary.vectors",
    "Cache": "saltlm.files.caches",
    "Check": "saltlm.inspection.finding",
    "Comparison": "saltlm.comparison.results",
    "Evaluation": "saltlm.evaluation.results",
    "Explanation": "saltlm.inspection.explain",
    "FasttextConfig": "saltlm.config.transfer",
    "Inspection": "saltlm.inspection.pair",
    "Export": "saltlm.models.gguf_export",
    "LoadedTokenizer": "saltlm.tokenizer.special_tokens",
    "MergeResult": "saltlm.adaptation.merge",
    "PretrainConfig": "saltlm.pretraining.config",
    "PretrainResult": "saltlm.pretraining.pretrain",
    "Report": "saltlm.inspection.report.report",
    "RecipeConfig": "saltlm.recipes.config",
    "RecipePlan": "saltlm.recipes.plan",
    "RecipeResult": "saltlm.recipes.recipe",
    "Push": "saltlm.record.upload",
    "RowsConfig": "saltlm.config.transfer",
    "SaltlmError": "saltlm.errors",
    "Scores": "saltlm.comparison.score",
    "SuiteConfig": "saltlm.evaluation.config",
    "TransferConfig": "saltlm.config.transfer",
    "VectorFile": "saltlm.auxiliary.make",
    "TransferResult": "saltlm.vocabulary_transfer.result",
    "Watch": "saltlm.inspection.report.watch",
    "adapt": "saltlm.adaptation.adapt",
    "cache": "saltlm.files.caches",
    "check": "saltlm.inspection.check",
    "compare": "saltlm.comparison.compare",
    "evaluate": "saltlm.evaluation.evaluate",
    "explain": "saltlm.inspection.explain",
    "export": "saltlm.models.gguf_export",
    "inspect": "saltlm.inspection.pair",
    "merge": "saltlm.adaptation.merge",
    "pretrain": "saltlm.pretraining.pretrain",
    "report": "saltlm.inspection.report.report",
    "recipe": "saltlm.recipes.recipe",
    "push": "saltlm.record.upload",
    "score": "saltlm.comparison.score",
    "transfer": "saltlm.vocabulary_transfer.transfer",
    "transfer_embeddings": "saltlm.vocabulary_transfer.transfer",
    "vectors": "saltlm.auxiliary.make",
    "watch": "saltlm.inspection.report.watch",
}

__all__ = [
    "AdaptConfig",
    "AdaptResult",
    "AuxiliaryVectors",
    "Cache",
    "Check",
    "Comparison",
    "Evaluation",
    "Explanation",
    "Export",
    "FasttextConfig",
    "Inspection",
    "LoadedTokenizer",
    "MergeResult",
    "PretrainConfig",
    "PretrainResult",
    "Push",
    "RecipeConfig",
    "RecipePlan",
    "RecipeResult",
    "Report",
    "RowsConfig",
    "SaltlmError",
    "Scores",
    "SuiteConfig",
    "TransferConfig",
    "TransferResult",
    "VectorFile",
    "Watch",
    "__version__",
    "adapt",
    "cache",
    "check",
    "compare",
    "evaluate",
    "explain",
    "export",
    "inspect",
    "merge",
    "pretrain",
    "push",
    "recipe",
    "report",
    "score",
    "transfer",
    "transfer_embeddings",
    "vectors",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'saltlm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
