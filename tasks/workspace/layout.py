"""Every folder and file name of a workspace: paths relative to it, built in no other module.

| folder | what lies there |
|---|---|
| backbones/DIGEST | weights of a backbone |
| pretrain/KEY | a backbone's own training: weights, curve, quality, checkpoints |
| picie/KEY | PiCIE: weights, centroids, curve, checkpoints |
| frames/DUMP | images of a dump's videos, and tables of clips and frames |
| prepared/DUMP | squares and labels of a published data set |
| corpus/DUMP | a dump's frozen index, its quarantine, labels rasterised from a COCO file |
| features/KEY/DUMP.zarr | patches, pooled, valid, images |
| neighbors/KEY/DUMP.zarr | ids, similarities; in lists the inverted lists of a large corpus |
| neighbors/of/DUMP | an empty file for each KEY that has a table of the dump |
| heads/KEY | the head, its curve, checkpoints |
| clusters/KEY | centroids, linear probe; restarts, codes.zarr |
| image_features/KEY/DUMP | what each image is read as, kept for taught models |
| patch_graphs/KEY | sampled patches and what each resembles, for taught models |
| lessons | what people taught: points of images and their classes |
| masks/KEY/DUMP | a PNG of class ids per image, a table of confidence |
| overlays, confidence/KEY/DUMP | beside the masks: a JPEG, and a PNG of margins, per image |
| classes/KEY | every revision of the class names |
| scores/KEY/DUMP, scores/probes/KEY | figures; a linear probe of its own |
| drift/KEY/DUMP | moments of a dump's features |
| patches/KEY | the index of all patches: codebook, DUMP.zarr, recall |
| reports/NAME | a page for a browser, in dumps one of each dump |
| exports/NAME | what the explorer exports |
| writers | leases |

A folder that a stage finishes holds PLAN, RECORDS and MANIFEST besides (see `ledger`).
"""

# Files beside the folders.
CATALOG_FILE = "catalog.json"  # what is shown of every dump, a cache of manifests
ROOT_FILE = "workspace.json"  # the workspace's format
CURRENT_FILE = "current.json"  # keys and options of the last run
REQUEST_FILE = "request.json"  # what the explorer's page asked for, until it is done
CLASSES_FILE = "classes.toml"  # names, colours, merged and ignored classes, for people to edit

# In the folder of any stage.
PLAN = "plan.json"  # what the folder is made from; written first
RECORDS = "records"  # a folder of one file per finished shard
CHECKPOINTS = "checkpoints"  # a folder of what a training goes on from
PARTS = "parts"  # corpus/DUMP, frames/DUMP: each shard's part of the tables
MANIFEST = "manifest.json"  # what the folder holds; written last

# In the folders that stand behind them.
ARRAY_FILE = "zarr.json"  # Zarr groups and their arrays: metadata
BENCHMARK_FILE = "benchmark.json"  # reports/NAME of a benchmark
CENTROIDS_FILE = "centroids.safetensors"  # clusters/KEY, picie/KEY
CLIPS_FILE = "clips.parquet"  # frames/DUMP
CODEBOOK_FILE = "codebook.safetensors"  # patches/KEY/codebook
COCO_FILE = "coco.parquet"  # corpus/DUMP
COMPARISON_FILE = "comparison.png"  # reports/NAME of a benchmark
CONFIDENCE_FILE = "confidence.parquet"  # masks/KEY/DUMP
CONFUSION_FILE = "confusion.png"  # reports/NAME of a benchmark
CORRESPONDENCE_FILE = "correspondences.png"  # reports/NAME of a benchmark
CURVE_FILE = "curve.parquet"  # heads/KEY, pretrain/KEY, picie/KEY
DUMP_PAGES_FILE = "dumps.json"  # reports/NAME
FACTS_FILE = "listing.json"  # corpus/DUMP
FRAMES_FILE = "frames.parquet"  # frames/DUMP
HEAD_FILE = "head.safetensors"  # heads/KEY
INDEX_FILE = "index.parquet"  # corpus/DUMP
LISTED_LABELS_FILE = "labels.parquet"  # corpus/DUMP: image files that are labels
LISTING_FILE = "listing.parquet"  # corpus/DUMP, prepared/DUMP
MOMENTS_FILE = "moments.safetensors"  # drift/KEY/DUMP
PAGE_FILE = "index.html"  # reports/NAME
PROBE_FILE = "probe.safetensors"  # clusters/KEY, scores/probes/KEY
QUALITY_FILE = "quality.parquet"  # pretrain/KEY
QUARANTINE_FILE = "quarantine.parquet"  # corpus, frames, prepared/DUMP
STRETCHES_FILE = "stretches.parquet"  # frames/DUMP
TAUGHT_FILE = "taught.safetensors"  # clusters/KEY of a taught model
GRAPH_FILE = "graph.safetensors"  # patch_graphs/KEY
TABLE_FILE = "table.md"  # reports/NAME of a benchmark
TAXONOMY_FILE = "taxonomy.json"  # prepared/DUMP
WEIGHTS_FILE = "weights.safetensors"  # backbones/DIGEST, pretrain/KEY, picie/KEY

# Folders of the workspace, and IMAGES in frames/DUMP.
BACKBONES = "backbones"
PRETRAIN = "pretrain"
PICIE = "picie"
FRAMES = "frames"
PREPARED = "prepared"
CORPUS = "corpus"
FEATURES = "features"
NEIGHBORS = "neighbors"
HEADS = "heads"
CLUSTERS = "clusters"
MASKS = "masks"
IMAGE_FEATURES = "image_features"
PATCH_GRAPHS = "patch_graphs"
LESSONS = "lessons"
OVERLAYS = "overlays"
CONFIDENCE = "confidence"
CLASSES = "classes"
SCORES = "scores"
DRIFT = "drift"
PATCHES = "patches"
REPORTS = "reports"
EXPORTS = "exports"
DUMP_PAGES = "dumps"  # in reports/NAME
WRITERS = "writers"
IMAGES = "images"
MEMBERS = "members"  # corpus/DUMP: rows of its archives, until they are listed
NEIGHBOR_MARKS = NEIGHBORS + "/of"  # an empty file for each dump and key of a table

MAKERS = {HEADS: "head", BACKBONES: "features"}
"""The stage that makes a folder, where it has another name."""

# Paths, from a key, the name of a dump, an image's id, or the path of a stage's folder.
zarr = "{}.zarr".format  # dump
backbone = (BACKBONES + "/{}").format  # digest
picie = (PICIE + "/{}").format  # key
corpus = (CORPUS + "/{}").format  # dump
label = (CORPUS + "/{}/labels/{}.png").format  # dump, image id: rasterised from a COCO file
frame = (FRAMES + "/{}/" + IMAGES + "/{}").format  # dump, path in the index
features = (FEATURES + "/{}/{}.zarr").format  # key, dump
neighbors = (NEIGHBORS + "/{}/{}.zarr").format  # key, dump
neighbor_tables = (NEIGHBOR_MARKS + "/{}").format  # dump
neighbor_lists = (NEIGHBORS + "/{}/lists").format  # key
head = (HEADS + "/{}").format  # key
clusters = (CLUSTERS + "/{}").format  # key
codes = "{}/codes.zarr".format  # path of clusters: the sampled codes
restarts = "{}/restarts".format  # path of clusters: restarts of k-means
masks = (MASKS + "/{}/{}").format  # key, dump
class_revisions = (CLASSES + "/{}").format  # key of clusters
image_features = (IMAGE_FEATURES + "/{}/{}").format  # key, dump
image_feature = (IMAGE_FEATURES + "/{}/{}/{}.safetensors").format  # key, dump, image id
patch_graph = (PATCH_GRAPHS + "/{}").format  # key
patches = (PATCHES + "/{}").format  # key
report = (REPORTS + "/{}").format  # name


def mask(masks_path: str, image_id: str) -> str:
    """The file of an image's mask."""
    return f"{masks_path}/{image_id}.png"


def probe_mask(scores_path: str, image_id: str) -> str:
    """The file of the linear probe's mask of an image, beside the scores."""
    return f"{scores_path}/linear/{image_id}.png"


def overlay(masks_path: str, image_id: str) -> str:
    """The file of an image's overlay, beside its mask."""
    return f"{masks_path.replace(MASKS, OVERLAYS, 1)}/{image_id}.jpg"


def margins(masks_path: str, image_id: str) -> str:
    """The file of an image's margins, beside its mask."""
    return f"{masks_path.replace(MASKS, CONFIDENCE, 1)}/{image_id}.png"
