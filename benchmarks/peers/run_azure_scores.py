"""F1 and ROUGE-L of answers by azure-ai-evaluation's evaluate(); its BLEU downloads NLTK data.

python benchmarks/peers/run_azure_scores.py LINES OUTPUT
"""

import sys

from azure.ai.evaluation import F1ScoreEvaluator, RougeScoreEvaluator, RougeType, evaluate

LINES, OUTPUT = sys.argv[1:]
COLUMNS = {"column_mapping": {"response": "${data.answer}", "ground_truth": "${data.ground_truth}"}}

if __name__ == "__main__":
    evaluate(
        data=LINES,
        evaluators={"f1": F1ScoreEvaluator(), "rouge": RougeScoreEvaluator(rouge_type=RougeType.ROUGE_L)},
        evaluator_config={"f1": COLUMNS, "rouge": COLUMNS},
        output_path=OUTPUT,
    )
