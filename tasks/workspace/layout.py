"""Every folder and file name of a workspace: paths relative to it, built in no other module.

| folder | what lies there |
|---|---|
| backbones/DIGEST | weights of a backbone |
| pretrain/KEY | a backbone's own training: weights, curve, quality, checkpoints |
| frames/DUMP | images of a dump's videos, and tables of clips and frames |
| prepared/DUMP | squares and labels of a published data set |
| corpus/DUMP | a dump's frozen index, its quarantine, labels drawn from a COCO file |
| features/KEY/DUMP.zarr | patches, pooled, valid, images |
| neighbors/KEY/DUMP.zarr | ids, similarities; in lists the inverted lists of a large corpus |
| heads/KEY | the head, its curve, checkpoints |
| clusters/KEY | centroids, linear probe; restarts, codes.zarr, classes |
| masks/KEY/DUMP | a PNG of class ids per image, a table of confidence |
| overlays, confidence/KEY/DUMP | beside the masks: a JPEG, and a PNG of margins, per image |
| classes/KEY | every revision of the class names |
| scores/KEY/DUMP, scores/probes/KEY | figures; a linear probe of its own |
| drift/KEY/DUMP | moments of a dump's features |
| patches/KEY | the index of all patches: codebook, DUMP.zarr, recall |
| reports/NAME | a page for a browser |
| exports/NAME | what the explorer exports |
| writers | leases |

A folder that a stage finishes holds PLAN, RECORDS and MANIFEST besides (see `ledger`).
"""

# Files beside the folders.
ROOT_FILE = "workspace.json"
"""The workspace's format."""
CURRENT_FILE = "current.json"
"""Keys and options of the last run."""
CLASSES_FILE = "classes.toml"
"""Names, colours, merged and ignored classes, for people to edit."""

# In the folder of any stage.
PLAN = "plan.json"
"""What the folder is made from; written first."""
RECORDS = "records"
"""A folder of one file per finished shard."""
MANIFEST = "manifest.json"
"""What the folder holds; written last."""

# In the folders that stand behind them.
BENCHMARK_FILE = "benchmark.json"  # reports/NAME of a benchmark
CENTROIDS_FILE = "centroids.safetensors"  # clusters/KEY
CLIPS_FILE = "clips.parquet"  # frames/DUMP
CODEBOOK_FILE = "codebook.safetensors"  # patches/KEY/codebook
COCO_FILE = "coco.parquet"  # corpus/DUMP
CONFIDENCE_FILE = "confidence.parquet"  # masks/KEY/DUMP
CONFUSION_FILE = "confusion.png"  # reports/NAME of a benchmark
CURVE_FILE = "curve.parquet"  # heads/KEY, pretrain/KEY
FACTS_FILE = "listing.json"  # corpus/DUMP
FRAMES_FILE = "frames.parquet"  # frames/DUMP
HEAD_FILE = "head.safetensors"  # heads/KEY
INDEX_FILE = "index.parquet"  # corpus/DUMP
LISTING_FILE = "listing.parquet"  # corpus/DUMP, prepared/DUMP
MOMENTS_FILE = "moments.safetensors"  # drift/KEY/DUMP
PAGE_FILE = "index.html"  # reports/NAME
PROBE_FILE = "probe.safetensors"  # clusters/KEY, scores/probes/KEY
QUALITY_FILE = "quality.parquet"  # pretrain/KEY
QUARANTINE_FILE = "quarantine.parquet"  # corpus, frames, prepared/DUMP
STRETCHES_FILE = "stretches.parquet"  # frames/DUMP
TAXONOMY_FILE = "taxonomy.json"  # prepared/DUMP
WEIGHTS_FILE = "weights.safetensors"  # backbones/DIGEST, pretrain/KEY

# Folders.
BACKBONES, PRETRAIN, FRAMES, PREPARED = "backbones", "pretrain", "frames", "prepared"
CORPUS, FEATURES, NEIGHBORS, HEADS = "corpus", "features", "neighbors", "heads"
CLUSTERS, MASKS, OVERLAYS, CONFIDENCE = "clusters", "masks", "overlays", "confidence"
CLASSES, SCORES, DRIFT, PATCHES = "classes", "scores", "drift", "patches"
REPORTS, EXPORTS, WRITERS = "reports", "exports", "writers"
IMAGES = "images"
"""In frames/DUMP: the frames."""
MAKERS = {HEADS: "head", BACKBONES: "features"}
"""The stage that makes a folder, where it has another name."""


def zarr(dump: str) -> str:
    """A dump's Zarr group, in the folder of a stage."""
    return f"{dump}.zarr"


def backbone(digest: str) -> str:
    """A backbone."""
    return f"{BACKBONES}/{digest}"


def corpus(dump: str) -> str:
    """A dump's frozen index."""
    return f"{CORPUS}/{dump}"


def label(dump: str, image_id: str) -> str:
    """The file of an image's label that was drawn from a COCO file."""
    return f"{CORPUS}/{dump}/labels/{image_id}.png"


def frame(dump: str, path: str) -> str:
    """The file of a video's frame."""
    return f"{FRAMES}/{dump}/{IMAGES}/{path}"


def features(key: str, dump: str) -> str:
    """The Zarr group of a dump's features."""
    return f"{FEATURES}/{key}/{zarr(dump)}"


def neighbors(key: str, dump: str) -> str:
    """The Zarr group of a dump's neighbours."""
    return f"{NEIGHBORS}/{key}/{zarr(dump)}"


def neighbor_lists(key: str) -> str:
    """The inverted lists of a large corpus."""
    return f"{NEIGHBORS}/{key}/lists"


def head(key: str) -> str:
    """A head."""
    return f"{HEADS}/{key}"


def clusters(key: str) -> str:
    """Centroids and their linear probe."""
    return f"{CLUSTERS}/{key}"


def codes(path: str) -> str:
    """The Zarr group of the sampled codes, in the folder of clusters."""
    return f"{path}/codes.zarr"


def restarts(path: str) -> str:
    """The restarts of k-means, in the folder of clusters."""
    return f"{path}/restarts"


def class_counts(path: str) -> str:
    """How many classes are stable, in the folder of clusters."""
    return f"{path}/classes"


def masks(key: str, dump: str) -> str:
    """A dump's masks."""
    return f"{MASKS}/{key}/{dump}"


def mask(masks_path: str, image_id: str) -> str:
    """The file of an image's mask."""
    return f"{masks_path}/{image_id}.png"


def overlay(masks_path: str, image_id: str) -> str:
    """The file of an image's overlay, beside its mask."""
    return f"{masks_path.replace(MASKS, OVERLAYS, 1)}/{image_id}.jpg"


def margins(masks_path: str, image_id: str) -> str:
    """The file of an image's margins, beside its mask."""
    return f"{masks_path.replace(MASKS, CONFIDENCE, 1)}/{image_id}.png"


def class_revisions(clusters_key: str) -> str:
    """Every revision of the names of a clustering's classes."""
    return f"{CLASSES}/{clusters_key}"


def patches(key: str) -> str:
    """The index of all patches."""
    return f"{PATCHES}/{key}"


def report(name: str) -> str:
    """A report's folder."""
    return f"{REPORTS}/{name}"
