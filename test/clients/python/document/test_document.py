"""schemathesis against /openapi.json: what the document says of every URL is what
the gateway does, with values that it allows, and with such that it does not."""

import os
import sys
from importlib.metadata import version

os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = os.path.join(sys.prefix, "hypothesis")  # read when it is imported

import schemathesis
from schemathesis.cli import schemathesis as cli
from schemathesis.openapi.checks import AllowHeaderMismatch, RejectedPositiveData, UseAfterFree

ADDRESS = os.environ["CLIENTS_ADDRESS"]  # host:port
KEY_ID = os.environ["CLIENTS_KEY"].split("_")[1]

# What no schema of OpenAPI can say: the fields whose rule is about other fields, the
# time, or what is stored. For these alone may a value that the document allows be
# answered 400.
BEYOND_A_SCHEMA = {
    "listKeys": {"cursor"},
    "listRoles": {"cursor"},
    "listGrants": {"cursor"},
    "listChains": {"cursor"},
    "listUsage": {"cursor"},
    "listAudit": {"cursor", "platform"},  # and tenant exclude each other
    "exportAudit": {"platform"},
    "verifyAudit": {"platform"},
    "explainAccess": {"resource"},  # for some actions a name, for others none
    "createKey": {"roles", "expires_at", "expires_in"},  # roles that are there
    "rotateKey": {"overlap"},
    "createGrant": {"to.key", "to.tenant", "to.subject", "roles", "expires_at", "expires_in"},
    "putRole": {"name", "inherits"},  # the name in the URL
    "listPipelines": {"cursor"},
    "listPipelineVersions": {"cursor"},
    "listExecutions": {"cursor", "label"},  # a key once
    "listDeadLetters": {"cursor"},
    "replayDeadLetters": {"cursor"},
    "startExecution": {"label", "run_at"},
    "startExecutionVersion": {"label", "run_at"},
    "replayExecution": {"from"},  # steps that the pipeline has
    "replayDeadLetter": {"from"},
    "listSchedules": {"cursor"},
    "watchExecution": {"Last-Event-ID"},  # of what has happened
}
# A model has inputs of its own, a definition and a schedule their own schemas, and the result of an
# execution that failed the status of its failure.
OF_THEIR_OWN = {"infer", "inferVersion", "registerPipeline", "createSchedule", "getExecutionResult"}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keeps the key that all of this is called with."""
    if case.method.upper() != "GET" and (case.path_parameters or {}).get("id") == KEY_ID:
        case.path_parameters["id"] = "absent"


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Reports whether a failure is one."""
    operation = case.operation.definition.raw["operationId"]
    if isinstance(failure, RejectedPositiveData) and response.status_code == 400:
        fields = {e["field"].split("[")[0] for e in response.json().get("errors", [])}
        known = BEYOND_A_SCHEMA.get(operation, set())
        return operation not in OF_THEIR_OWN and not (fields and fields <= known)
    # /v1/dead-letters/replay has the form of a letter's URL, which can be asked for.
    if isinstance(failure, AllowHeaderMismatch) and operation == "replayDeadLetters":
        return False
    # A key that is revoked is still shown, as revoked.
    return not (isinstance(failure, UseAfterFree) and operation == "getKey")


if __name__ == "__main__":
    print("versions: schemathesis", version("schemathesis"))
    cli(["--no-color", "--config-file", "schemathesis.toml", "run", f"http://{ADDRESS}/openapi.json", "--continue-on-failure", *sys.argv[1:]])
