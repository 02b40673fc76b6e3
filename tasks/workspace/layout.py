"""Every folder and file name of a workspace: paths relative to it, built in no other module.

| folder | what lies there |
|---|---|
| backbones/DIGEST | weights of a backbone |
| pretrain/KEY | a backbone's own training: weights, curve, quality, checkpoints |
| frames/DUMP | images of a dump's videos, and tables of clips and frames |
| prepared/DUMP | squares and labels of a published data set |
| corpus/DUMP | a dump's frozen index, its quarantine, labels rasterised from a COCO file |
| features/KEY/DUMP.zarr | patches, pooled, valid, images |
| neighbors/KEY/DUMP.zarr | ids, similarities; in lists the inverted lists of a large corpus |
| heads/KEY | the head, its curve, checkpoints |
| clusters/KEY | centroids, linear probe; restarts, codes.zarr |
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
ROOT_FILE = "workspace.json"  # the workspace's format
CURRENT_FILE = "current.json"  # keys and options of the last run
CLASSES_FILE = "classes.toml"  # names, colours, merged and ignored classes, for people to edit

# In the folder of any stage.
PLAN = "plan.json"  # what the folder is made from; written first
RECORDS = "records"  # a folder of one file per finished shard
MANIFEST = "manifest.json"  # what the folder holds; written last

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

# Folders of the workspace, and IMAGES in frames/DUMP.
BACKBONES = "backbones"
PRETRAIN = "pretrain"
FRAMES = "frames"
PREPARED = "prepared"
CORPUS = "corpus"
FEATURES = "features"
NEIGHBORS = "neighbors"
HEADS = "heads"
CLUSTERS = "clusters"
MASKS = "masks"
OVERLAYS = "overlays"
CONFIDENCE = "confidence"
CLASSES = "classes"
SCORES = "scores"
DRIFT = "drift"
PATCHES = "patches"
REPORTS = "reports"
EXPORTS = "exports"
WRITERS = "writers"
IMAGES = "images"

MAKERS = {HEADS: "head", BACKBONES: "features"}
"""The stage that makes a folder, where it has another name."""

# Paths, from a key, the name of a dump, an image's id, or the path of a stage's folder.
zarr = "{}.zarr".format  # dump
backbone = (BACKBONES + "/{}").format  # digest
corpus = (CORPUS + "/{}").format  # dump
label = (CORPUS + "/{}/labels/{}.png").format  # dump, image id: rasterised from a COCO file
frame = (FRAMES + "/{}/" + IMAGES + "/{}").format  # dump, path in the index
features = (FEATURES + "/{}/{}.zarr").format  # key, dump
neighbors = (NEIGHBORS + "/{}/{}.zarr").format  # key, dump
neighbor_lists = (NEIGHBORS + "/{}/lists").format  # key
head = (HEADS + "/{}").format  # key
clusters = (CLUSTERS + "/{}").format  # key
codes = "{}/codes.zarr".format  # path of clusters: the sampled codes
restarts = "{}/restarts".format  # path of clusters: restarts of k-means
masks = (MASKS + "/{}/{}").format  # key, dump
class_revisions = (CLASSES + "/{}").format  # key of clusters
patches = (PATCHES + "/{}").format  # key
report = (REPORTS + "/{}").format  # name


def mask(masks_path: str, image_id: str) -> str:
    """The file of an image's mask."""
    return f"{masks_path}/{image_id}.png"


def overlay(masks_path: str, image_id: str) -> str:
    """The file of an image's overlay, beside its mask."""
    return f"{masks_path.replace(MASKS, OVERLAYS, 1)}/{image_id}.jpg"


def margins(masks_path: str, image_id: str) -> str:
    """The file of an image's margins, beside its mask."""
    return f"{masks_path.replace(MASKS, CONFIDENCE, 1)}/{image_id}.png"
