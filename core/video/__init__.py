"""Videos: what is in them, frames out of them and into them. ffmpeg does the work, PyAV reads the labels."""

from __future__ import annotations

from core.video.binary import ffmpeg_path
from core.video.cutting import copy_piece, cut, parse_time, plan_copy
from core.video.decoding import decode_frames
from core.video.denoising import denoise, unfinished_method, unfinished_run
from core.video.encoding import encode_sequence
from core.video.extraction import extract_frames, inspect_folder, restore_frames
from core.video.frames import require_images
from core.video.planning import plan_encoding
from core.video.probe import AudioStream, VideoInfo, probe
from core.video.rates import parse_rate, rate_text
from core.video.timeline import Timeline, read_timeline
from core.video.timestamps import write_timestamps

__all__ = [
    "AudioStream",
    "Timeline",
    "VideoInfo",
    "copy_piece",
    "cut",
    "decode_frames",
    "denoise",
    "encode_sequence",
    "extract_frames",
    "ffmpeg_path",
    "inspect_folder",
    "parse_rate",
    "parse_time",
    "plan_copy",
    "plan_encoding",
    "probe",
    "rate_text",
    "read_timeline",
    "require_images",
    "restore_frames",
    "unfinished_method",
    "unfinished_run",
    "write_timestamps",
]
