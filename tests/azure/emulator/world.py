"""What the emulated subscription is like before anybody touches it; a wrong world is one with another value."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
TENANT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
CLIENT = "0c11e000-0000-4000-8000-000000000001"
CLIENT_SECRET = "emulated~secret-of-the-service-principal"
CALLER = "0b1ec700-0000-4000-8000-000000000001"
"""The object id of the service principal that the tests log in as."""

OWNER, CONTRIBUTOR = "Owner", "Contributor"


@dataclass(frozen=True)
class VmSize:
    """A size as a region offers it; ``family`` is the quota's name, ``price`` is dollars an hour."""

    name: str
    family: str
    cores: int
    gpus: int
    memory_gb: float
    price: float


SIZES = (
    VmSize("Standard_NC24ads_A100_v4", "Standard NCADSA100v4 Family", 24, 1, 220.0, 3.673),
    VmSize("Standard_NC48ads_A100_v4", "Standard NCADSA100v4 Family", 48, 2, 440.0, 7.346),
    VmSize("Standard_NC96ads_A100_v4", "Standard NCADSA100v4 Family", 96, 4, 880.0, 14.692),
    VmSize("Standard_NC40ads_H100_v5", "Standard NCadsH100v5 Family", 40, 1, 320.0, 6.98),
    VmSize("Standard_D2_v2", "Standard Dv2 Family", 2, 0, 7.0, 0.146),
    VmSize("Standard_DS3_v2", "Standard DSv2 Family", 4, 0, 14.0, 0.293),
)

RETIRED_SIZES = (
    *(f"Standard_NC{size}" for size in ("6", "12", "24", "24r")),
    *(f"Standard_NC{size}_v2" for size in ("6s", "12s", "24s", "24rs")),
    *(f"Standard_NC{size}_v3" for size in ("6s", "12s", "24s", "24rs")),
)

PROVIDERS = (
    "Microsoft.Cdn",
    "Microsoft.CognitiveServices",
    "Microsoft.Compute",
    "Microsoft.ContainerRegistry",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.MachineLearningServices",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
    "Microsoft.PolicyInsights",
    "Microsoft.Quota",
    "Microsoft.Storage",
)


@dataclass(kw_only=True)
class World:
    """The subscription's kind, quota, offers and faults. Families without a quota have 0 cores."""

    quota_id: str = "PayAsYouGo_2014-09-01"
    spending_limit: str = "Off"
    roles: dict[str, str] = field(default_factory=lambda: {f"/subscriptions/{SUBSCRIPTION}": OWNER})
    """The caller's roles: scope to role name, before any assignment."""
    unregistered: set[str] = field(default_factory=lambda: set(PROVIDERS))
    sizes: dict[str, tuple[VmSize, ...]] = field(
        default_factory=lambda: {"eastus2": SIZES, "westus3": SIZES, "northeurope": SIZES[-2:]}
    )
    """What each region offers for Azure ML."""
    quota: dict[str, int] = field(
        default_factory=lambda: {
            "Standard NCADSA100v4 Family": 96,
            "Standard NCadsH100v5 Family": 40,
            "Standard Dv2 Family": 100,
            "Standard DSv2 Family": 100,
        }
    )
    """Cores that the subscription may use, by family, in every region."""
    total_cores: int = 300
    """Dedicated cores that it may use of all families together, in every region."""
    low_priority_cores: int = 96
    """Low-priority cores that it may use, which are not counted by family."""
    grants_quota: bool = True
    """Whether requests for more cores are granted; else they end with ContactSupport."""
    retired_sizes: set[str] = field(default_factory=lambda: set(RETIRED_SIZES))
    """Sizes that no region allocates any more."""
    taken_names: set[str] = field(default_factory=set)
    """Globally unique names (storage accounts, vaults, registries) that somebody else holds."""
    soft_deleted: set[str] = field(default_factory=set)
    """Resource ids that were deleted and still hold their names."""
    denied: set[str] = field(default_factory=set)
    """Actions that the caller may not do whatever the roles say, such as Microsoft.X/things/listKeys/action."""
    missing_models: set[str] = field(default_factory=set)
    """Models that the azureml registry lacks."""
    archived_models: dict[str, str] = field(
        default_factory=lambda: {"Phi-3-mini-4k-instruct": "2025-08-30", "Phi-3-mini-128k-instruct": "2025-08-30"}
    )
    """Models that the registry shows by a version's number only, with the day since when they are not fine-tuned."""
    registry_refuses: bool = False
    """Whether the caller may not read the registry."""
    registry_broken: bool = False
    """Whether the registry fails."""
    idle_looks: int = 0
    """So many looks at the quota until the node that a job ran on has gone."""
    creation_polls: int | None = None
    """So many polls until a deployment is made, as any other operation unless it is set."""
    job_failure: str | None = None
    """What jobs fail with, once they run."""
    failing_deployments: int = 0
    """So many deployments fail their liveness probe."""
    serverless_data_bytes: int = 512 * 2**20
    """A data file of serverless fine-tuning must be smaller."""
    serverless_endpoints_limit: int = 10
    """So many serverless endpoints may be in a region."""
    failing_serverless: int = 0
    """So many serverless endpoints fail to be made."""
    serverless_lag: int = 0
    """So many looks at serverless endpoints until their own state follows that of their creation."""
    foundry_deployments_feature: bool = False
    """Whether the portal's preview "Deploy models to Foundry resources" is on, beside which there is no serverless."""
    serverless_logprobs: bool = False
    """Whether serverless endpoints answer ``logprobs``, which they ignore otherwise."""
    blocked_words: set[str] = field(default_factory=set)
    """What content safety finds harmful, in prompts and in answers."""
    serverless_rpm: int | None = None
    """Requests that a serverless endpoint answers in a window; None for any number."""
    serverless_window_s: float = 60.0
    """How long that window is."""
    token_lifetime_s: int = 3600
    expired_tokens: bool = False
    """The ARM refuses every token as expired."""
    prices_reachable: bool = True
    locked: set[str] = field(default_factory=set)
    """Resource ids with a delete lock."""
    propagation_polls: int = 1
    """So many role assignments to a principal fail with PrincipalNotFound after it was made."""
    operation_polls: int = 2
    """So many polls until a long-running operation has ended."""
    poll_ms: int = 10
    """What long-running operations ask pollers to wait."""
    today: date = date(2026, 11, 29)
    """The day by which models are retired or not."""
    openai_existing_customer: bool = True
    """Whether the subscription fine-tuned or deployed the retired models before, and so may go on to fine-tune them."""
    openai_regions: set[str] = field(default_factory=lambda: {"eastus2", "westus3"})
    """Where models of Azure OpenAI can be fine-tuned."""
    openai_quota: dict[str, int] = field(default_factory=dict)
    """Limits by their usage names, such as OpenAI.Standard.gpt4.1-mini-finetune, where they are not the usual ones."""
    openai_polls: int = 1
    """So many looks at a file or a fine-tuning job until it goes to its next state."""
    openai_poll_ms: int | None = 10
    """What whoever looks at them is asked to wait; the service itself does not say."""
    openai_max_files: int = 100
    openai_max_file_bytes: int = 512 * 1024**2
    openai_max_total_bytes: int = 1024**3
    openai_file_failure: str | None = None
    """What the processing of uploaded files fails with."""
    openai_example_tokens: int = 65536
    """So many tokens may an example of the training data have."""
    openai_strange_status: str | None = None
    """A status that no document names, which every fine-tuning job has for a while."""
    openai_job_failure: str | None = None
    """What fine-tuning jobs of Azure OpenAI fail with, once they run."""
    openai_data_filtered: set[str] = field(default_factory=set)
    """Harm types, such as self_harm, for which training data is refused."""
    openai_model_filtered: set[str] = field(default_factory=set)
    """Harm types, such as Self Harm, for which a trained model may not be deployed."""
    openai_results_spelling: str = "validation_"
    """What a column of results.csv begins with, the validation data's token accuracy: ``validation_`` or ``valid_``."""
    openai_results_missing: bool = False
    """Whether the results of fine-tuning jobs are gone, though their jobs name them."""
    openai_failing_deployments: int = 0
    """So many deployments of models fail while they are made."""
    openai_logprobs: bool = True
    """Whether deployed models tell log probabilities."""
    openai_rpm: int | None = None
    """So many chats may each deployment be asked in ``openai_rate_window_s``; without it, any number."""
    openai_rate_window_s: float = 60.0
