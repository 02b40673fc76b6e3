"""Format video: each clip's frames with their masks blended over them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from stego_core.errors import ImageError
from stego_core.labels.class_names import ClassNames
from tasks.exports.writer import LabelledImage, Writer
from tasks.video.encoding import OverlayVideo
from tasks.workspace import layout


class Video(Writer):
    """`videos/DUMP/CLIP.mp4`: the frames that were sampled, each at its moment of the clip.

    Plain images beside clips are left out, with that as the reason.
    """

    names = ("videos",)
    reads = ("pixels",)

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Nothing is written before the first frame."""
        self.classes = classes
        self.videos: dict[str, OverlayVideo] = {}

    def add(self, image: LabelledImage) -> None:
        """Encode the image, if it is a frame."""
        clip = image.entry.get("clip")
        if clip is None:
            raise ImageError("it is no frame of a video")
        if image.dump not in self.videos:
            self.videos[image.dump] = self._video(image)
        self.videos[image.dump].add(image.pixels, image.ids, clip, image.entry["seconds"])

    def end(self) -> Mapping[str, Path]:
        """The finished videos."""
        return {
            f"videos/{dump}/{name}": file
            for dump, video in self.videos.items()
            for name, file in video.end().items()
        }

    def _video(self, image: LabelledImage) -> OverlayVideo:
        """The videos of an image's dump; what is open when the export ends is closed."""
        folder = self.target.folder / f"videos-{len(self.videos)}"
        folder.mkdir()
        frames = image.source.index.workspace.folder(layout.FRAMES, image.dump).manifest()
        video = OverlayVideo(folder, self.classes, frames["fps"])
        self.target.on_exit.callback(video.abort)
        return video
