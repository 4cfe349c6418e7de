"""Trains a churn model on customers that it makes up, and writes churn.onnx.

    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python train.py            # churn.onnx, and how good it is

What it exports is the whole scikit-learn pipeline, the encoding of columns
included: whoever calls the model sends a customer's columns as they are in the
table, by name, and nothing of the preprocessing is written a second time.
"""

import argparse
import pathlib

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

SEED = 7
CUSTOMERS = 8000

NUMBERS = ["tenure_months", "monthly_charges", "support_tickets"]
TEXTS = ["contract", "payment"]
CONTRACTS = ["monthly", "one_year", "two_years"]
PAYMENTS = ["card", "invoice", "transfer"]


def customers(n, rng):
    """n customers as a table, and whether each has left (0 or 1) since."""
    contract = rng.choice(CONTRACTS, n, p=[0.55, 0.25, 0.20])
    payment = rng.choice(PAYMENTS, n, p=[0.5, 0.3, 0.2])
    tenure = np.minimum(rng.exponential(24, n), 72).round()
    charges = np.clip(rng.normal(65, 25, n), 15, 140).round(2)
    tickets = rng.poisson(np.where(contract == "monthly", 1.6, 0.9))
    # Who leaves: those who are new, pay much, complain, and are not bound.
    logit = (
        -1.6
        - 0.045 * tenure
        + 0.016 * (charges - 65)
        + 0.45 * tickets
        + np.select([contract == "monthly", contract == "one_year"], [1.1, -0.4], -1.5)
        + np.where(payment == "invoice", 0.5, 0.0)
        + 0.9 * ((tickets >= 4) & (tenure < 12))
    )
    left = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    table = pd.DataFrame({
        # float32, as the model's inputs are: a tree that has learned its limits
        # from doubles can answer otherwise beside one of them.
        "tenure_months": tenure.astype(np.float32),
        "monthly_charges": charges.astype(np.float32),
        "support_tickets": tickets.astype(np.float32),
        "contract": contract,
        "payment": payment,
    })
    return table, left


def train(table, left):
    columns = ColumnTransformer([
        ("numbers", "passthrough", NUMBERS),
        # A text that was never seen is no category, and no error.
        ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), TEXTS),
    ])
    return make_pipeline(columns, GradientBoostingClassifier(n_estimators=60, max_depth=3, random_state=SEED)).fit(table, left)


def export(pipeline):
    """The pipeline in ONNX: an input of shape [N, 1] for each column, and the
    outputs label [N] and probabilities [N, 2], of staying and of leaving."""
    inputs = [(name, FloatTensorType([None, 1])) for name in NUMBERS] + [(name, StringTensorType([None, 1])) for name in TEXTS]
    return to_onnx(
        pipeline,
        initial_types=inputs,
        # Without this the probabilities are a list of dictionaries (ZipMap), which
        # no tensor of the Open Inference Protocol can hold.
        options={"zipmap": False},
        # What ONNX Runtime of the platform reads, whatever skl2onnx's newest is.
        target_opset={"": 18, "ai.onnx.ml": 3},
        name="churn",
    )


def feeds(table):
    """A table as ONNX Runtime takes it."""
    return {name: table[[name]].to_numpy(np.float32 if name in NUMBERS else object) for name in table.columns}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_name("churn.onnx"))
    out = parser.parse_args().out

    table, left = customers(CUSTOMERS, np.random.default_rng(SEED))
    train_table, test_table, train_left, test_left = train_test_split(table, left, test_size=0.25, random_state=SEED, stratify=left)
    pipeline = train(train_table, train_left)
    model = export(pipeline)
    onnx.checker.check_model(model, full_check=True)
    out.write_bytes(model.SerializeToString())

    # The file answers as the pipeline does, which is worth a look for every model.
    expected = pipeline.predict_proba(test_table)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    _, got = session.run(None, feeds(test_table))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    print(f"{out.name}: {out.stat().st_size / 1e3:.0f} kB; {left.mean():.0%} have left; AUC {roc_auc_score(test_left, got[:, 1]):.3f} on {len(test_table)} customers it was not trained on")


if __name__ == "__main__":
    main()
