from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import shutil
import struct
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmsearch_env.errors import BackendError, ConfigurationError, ReplayMiss, WorldError
from mmsearch_env.paths import bundled
from mmsearch_env.pictures import MAX_PIXELS, decode_png, encode_png
from mmsearch_env.records import Box, Query, Task, pixel_digest
from mmsearch_env.search.encoders import get_encoder
from mmsearch_env.worlds import World, index_descriptors, list_worlds, load_world, verify_world, write_world
from mmsearch_env.worlds.manifest import canonical_json, file_entry, manifest_bytes
from mmsearch_env.worlds.rows import task_from_row, task_to_row


@pytest.fixture
def damaged(tiny_world_path, tmp_path):
    """A copy of the tiny world to damage."""
    return Path(shutil.copytree(tiny_world_path, tmp_path / "tiny"))


def edit_manifest(world, change):
    manifest = json.loads((world / "world.json").read_bytes())
    change(manifest)
    (world / "world.json").write_bytes(manifest_bytes(manifest))


def rewrite(world, file, data):
    """Replace a file and list its new hash, as one would who does not want to be noticed."""
    (world / file).parent.mkdir(exist_ok=True)
    (world / file).write_bytes(data)
    edit_manifest(world, lambda manifest: manifest["files"].update({file: file_entry(data)}))


def edit_row(world, file, number, change):
    """Change row `number` (from 0) of a JSONL file, hash included."""
    lines = (world / file).read_bytes().splitlines(keepends=True)
    row = json.loads(lines[number])
    change(row)
    lines[number] = canonical_json(row)
    rewrite(world, file, b"".join(lines))


def content(world):
    """What `write_world` needs to write `world` again."""
    return {
        "name": world.name,
        "version": world.version,
        "licence": world.licence,
        "title": world.manifest["title"],
        "tasks": world.tasks(),
        "documents": list(world.documents.values()),
        "pictures": world.pictures,
        "images": {digest: world.image(digest) for digest in digests(world)},
        "recordings": list(world.recordings()),
    }


def digests(world):
    return {task.image for task in world.tasks()} | {picture.image for picture in world.pictures}


def folder_bytes(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def problems_as_text(path):
    return "\n".join(map(str, verify_world(path)))


def an_image(world):
    return sorted((world / "images").iterdir())[0]


# Loading


def test_a_sound_world_has_no_problems(tiny_world_path):
    assert verify_world(tiny_world_path) == []
    assert load_world(tiny_world_path, check="full").name == "tiny"


def test_a_world_gives_back_what_was_written(tiny_world, tmp_path):
    again = load_world(write_world(tmp_path / "again", **content(tiny_world)))
    assert again.tasks() == tiny_world.tasks()
    assert dict(again.documents) == dict(tiny_world.documents)
    assert again.pictures == tiny_world.pictures
    assert list(again.recordings()) == list(tiny_world.recordings())
    assert all(np.array_equal(again.image(digest), tiny_world.image(digest)) for digest in digests(tiny_world))
    assert again.hash == tiny_world.hash


def test_the_same_content_gives_the_same_bytes(tiny_world, tmp_path):
    first = write_world(tmp_path / "first", **content(tiny_world))
    second = write_world(tmp_path / "second", **content(tiny_world))
    assert folder_bytes(first) == folder_bytes(second) == folder_bytes(tiny_world.path)


def test_a_row_keeps_what_is_no_field_as_metadata(tiny_world):
    task = tiny_world.task("tiny-01")
    assert task.metadata == {"evidence": ["doc-bluria"], "number": 1}
    assert task_from_row(json.loads(json.dumps(task_to_row(task)))) == task
    assert tiny_world.documents["doc-redland"].metadata["licence"] == "CC0-1.0"


def test_tasks_are_chosen_by_split_in_the_order_of_the_world(tiny_world):
    assert [task.id for task in tiny_world.tasks("test")] == ["tiny-06", "tiny-07", "tiny-08"]
    assert tiny_world.splits == ("train", "validation", "test", "ood")
    assert len(tiny_world.tasks()) == 10


def test_an_unknown_split_or_task_is_answered_with_the_known_ones(tiny_world):
    with pytest.raises(ConfigurationError, match=r"train.*got 'tests'\. Did you mean 'test'\?"):
        tiny_world.tasks("tests")
    with pytest.raises(ConfigurationError, match=r"got 'tiny-1'\. Did you mean 'tiny-"):
        tiny_world.task("tiny-1")


def test_boxes_of_one_picture_are_merged_over_its_tasks(tiny_world):
    picture = tiny_world.task("tiny-00").image
    assert set(tiny_world.boxes[picture]) == {"the left flag", "the right flag"}
    assert tiny_world.boxes[picture]["the left flag"] == Box(6, 8, 42, 34)


def test_a_picture_is_read_only_and_has_the_digest_that_names_it(tiny_world):
    pixels = tiny_world.image(tiny_world.task("tiny-00").image)
    assert pixels.shape == (64, 96, 3)
    assert pixels.dtype == np.uint8
    assert pixel_digest(pixels) == tiny_world.task("tiny-00").image
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0] = 0
    assert tiny_world.image(tiny_world.task("tiny-00").image) is pixels


def test_an_unknown_picture_is_named(tiny_world):
    with pytest.raises(WorldError, match="Expected the digest of a picture of 'tiny', got '0000"):
        tiny_world.image("0" * 64)


def test_a_loaded_world_passes_through(tiny_world):
    assert load_world(tiny_world) is tiny_world


def test_an_unknown_name_is_answered_with_the_bundled_worlds(monkeypatch, tiny_world_path):
    monkeypatch.setattr("mmsearch_env.worlds.loading.bundled", lambda *parts: tiny_world_path.parent.joinpath(*parts))
    assert load_world("tiny").path == tiny_world_path
    assert [(info.name, info.version, info.counts["tasks"]) for info in list_worlds()] == [("tiny", "1.0", 10)]
    with pytest.raises(WorldError, match=r"one of: tiny; got 'tinny'\. Did you mean 'tiny'\?"):
        load_world("tinny")
    with pytest.raises(WorldError, match=r"Expected the folder of a world, got '\./nowhere'"):
        load_world("./nowhere")


def test_a_folder_without_a_manifest_is_no_world(tmp_path):
    with pytest.raises(WorldError, match=r"has no world\.json"):
        load_world(tmp_path)


def test_an_unknown_check_is_refused(tiny_world_path):
    with pytest.raises(ConfigurationError, match="Did you mean 'full'"):
        load_world(tiny_world_path, check="ful")  # type: ignore[arg-type]


def test_bundled_data_lies_beside_the_package_or_in_it():
    assert bundled("atlas", "world.json").parts[-3:] == ("fixtures", "atlas", "world.json")


# Sharing


def test_a_world_survives_pickling_and_copying(tiny_world):
    again = pickle.loads(pickle.dumps(tiny_world))
    assert isinstance(again, World)
    assert (again.hash, again.tasks()) == (tiny_world.hash, tiny_world.tasks())
    assert copy.deepcopy(tiny_world).tasks() == tiny_world.tasks()


def test_a_world_that_changed_since_it_was_pickled_is_refused(damaged):
    stored = pickle.dumps(load_world(damaged))
    edit_manifest(damaged, lambda manifest: manifest.update(version="1.1"))
    with pytest.raises(WorldError, match="changed since the world was pickled"):
        pickle.loads(stored)


def test_threads_share_one_reading_of_the_files(tiny_world_path, monkeypatch):
    world = load_world(tiny_world_path)
    reads = []
    read_documents = World._read_documents

    def counted(self):
        reads.append(self)
        return read_documents(self)

    monkeypatch.setattr(World, "_read_documents", counted)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(world.text.search(Query(text="harbour Ashby"), 3)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    assert len(found) == 8
    assert all(hits == found[0] for hits in found)


# Searching


def test_a_recorded_search_is_replayed_and_another_is_indexed(tiny_world):
    recorded = tiny_world.text.search(Query(text="Capital of  REDLAND"), 5)
    assert [(hit.document_id, hit.source) for hit in recorded] == [
        ("doc-redland", "replay:tiny"),
        ("doc-trap", "replay:tiny"),
    ]
    assert recorded[1].snippet == "Many ask."
    indexed = tiny_world.text.search(Query(text="which town is Ashby"), 5)
    assert (indexed[0].document_id, indexed[0].source) == ("doc-ashby", "text_index")


def test_a_recorded_fault_is_raised(tiny_world):
    with pytest.raises(BackendError, match="timeout: no answer"):
        tiny_world.text.search(Query(text="a search that failed"), 5)


def test_on_miss_says_what_becomes_of_a_search_that_nobody_recorded(tiny_world):
    query = Query(text="which town is Ashby")
    assert tiny_world.backends("empty").text.search(query, 5) == []
    with pytest.raises(ReplayMiss):
        tiny_world.backends("error").text.search(query, 5)
    with pytest.raises(ConfigurationError, match="Did you mean 'error'"):
        tiny_world.backends("errors")
    assert tiny_world.backends("empty") is tiny_world.backends("empty")


def test_image_search_finds_the_entity_of_the_region(tiny_world):
    task = tiny_world.task("tiny-01")
    crop = task.boxes[task.expression].crop(tiny_world.image(task.image))
    assert tiny_world.images.search(Query(image=crop), 5)[0].document_id == "doc-bluria"


def test_stored_descriptors_rank_as_computed_ones_do(tiny_world, tmp_path):
    encoder = get_encoder()
    descriptors = index_descriptors([tiny_world.image(picture.image) for picture in tiny_world.pictures], encoder)
    path = write_world(tmp_path / "stored", **content(tiny_world), descriptors={encoder.name: descriptors})
    world = load_world(path, check="full")
    stored = world.descriptors(encoder.name)
    assert stored is not None
    assert np.array_equal(stored, descriptors)
    assert stored.dtype == descriptors.dtype
    assert world.descriptors("another") is None
    query = Query(image=world.image(world.task("tiny-06").image))
    assert world.images.search(query, 5) == tiny_world.images.search(query, 5)


def test_a_world_without_pictures_finds_none(tiny_world, tmp_path):
    path = write_world(tmp_path / "bare", **(content(tiny_world) | {"pictures": [], "recordings": []}))
    world = load_world(path)
    assert world.images.search(Query(image=np.zeros((8, 8, 3), np.uint8)), 5) == []


def test_searching_is_the_first_time_that_recordings_are_read(damaged):
    (damaged / "recordings" / "tiny.jsonl").unlink()
    world = load_world(damaged)
    assert world.tasks()
    with pytest.raises(WorldError, match=r"recordings/tiny\.jsonl: .*missing"):
        world.text.search(Query(text="capital of Redland"), 5)


# Writing


@pytest.mark.parametrize("colours", [1, 2, 16, 17, 256, 257])
def test_png_keeps_every_pixel(colours):
    values = np.random.default_rng(0).integers(0, 1 << 24, colours)
    packed = np.resize(values, (24, 31))
    pixels = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8)
    assert np.array_equal(decode_png(encode_png(pixels)), pixels)


def test_a_huge_picture_is_refused_before_it_is_decoded():
    header = struct.pack(">IIBBBBB", 8000, MAX_PIXELS // 8000 + 1, 8, 2, 0, 0, 0)
    pieces = [(b"IHDR", header), (b"IDAT", b"not decoded"), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
              for kind, data in pieces]  # fmt: skip
    with pytest.raises(ValueError, match=r"at most 32,000,000 pixels, got 8000 x 4001"):
        decode_png(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def test_an_existing_world_is_replaced_only_on_request(tiny_world, tmp_path):
    path = write_world(tmp_path / "world", **content(tiny_world))
    with pytest.raises(WorldError, match="overwrite=True"):
        write_world(path, **content(tiny_world))
    write_world(path, **(content(tiny_world) | {"version": "2.0"}), overwrite=True)
    assert load_world(path, check="full").version == "2.0"
    assert [child.name for child in tmp_path.iterdir()] == ["world"]


def test_a_folder_that_is_no_world_is_never_replaced(tiny_world, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("three years of work")
    with pytest.raises(WorldError, match="got something else"):
        write_world(tmp_path / "home", **content(tiny_world), overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_an_unsound_world_is_not_written_and_leaves_nothing_behind(tiny_world, tmp_path):
    given = content(tiny_world)
    given["tasks"][5] = replace(given["tasks"][5], entities=("redland",))
    with pytest.raises(WorldError, match=r"tasks\.jsonl, line 6: .*disjoint.*'redland'"):
        write_world(tmp_path / "world", **given)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_under_a_wrong_digest_is_not_written(tiny_world, tmp_path):
    given = content(tiny_world)
    given["images"] = {digest: np.zeros((4, 4, 3), np.uint8) for digest in given["images"]}
    with pytest.raises(WorldError, match="under its own digest"):
        write_world(tmp_path / "world", **given)


def test_what_json_cannot_hold_is_not_written(tiny_world, tmp_path):
    given = content(tiny_world)
    given["tasks"][0] = replace(given["tasks"][0], metadata={"weight": float("nan")})
    with pytest.raises(WorldError, match="written as JSON"):
        write_world(tmp_path / "world", **given)
    with pytest.raises(ConfigurationError, match="'counts'"):
        write_world(tmp_path / "world", **content(tiny_world), counts={})


def test_further_texts_belong_to_the_world(tiny_world, tmp_path):
    path = write_world(tmp_path / "world", **content(tiny_world), texts={"README.md": "# Tiny\n"})
    assert verify_world(path) == []
    (path / "README.md").write_text("# Tinny\n")
    assert "README.md: Expected 7 bytes, got 8" in problems_as_text(path)
    with pytest.raises(WorldError, match="outside itself"):
        write_world(tmp_path / "other", **content(tiny_world), texts={"../README.md": "out"})


def test_metadata_may_not_shadow_a_field(tiny_world):
    with pytest.raises(ValueError, match="Rename the metadata key"):
        task_to_row(replace(tiny_world.task("tiny-00"), metadata={"split": "test"}))


# Damage


def test_a_flipped_byte_in_a_picture_is_found(damaged):
    image = an_image(damaged)
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes(bytes(data))
    name = f"images/{image.name}"
    assert f"{name}: Expected sha256" in problems_as_text(damaged)
    with pytest.raises(WorldError, match=f"tiny/{name}: Expected sha256"):
        load_world(damaged).image(image.stem)


def test_another_picture_under_an_old_name_is_found_even_with_its_hash_listed(damaged):
    image = an_image(damaged)
    rewrite(damaged, f"images/{image.name}", encode_png(np.full((64, 96, 3), 7, np.uint8)))
    assert f"images/{image.name}: Expected pixels whose digest" in problems_as_text(damaged)
    with pytest.raises(WorldError, match="Expected pixels whose digest"):
        load_world(damaged).image(image.stem)


def test_bytes_that_are_no_picture_are_found(damaged):
    image = an_image(damaged)
    rewrite(damaged, f"images/{image.name}", image.read_bytes()[:60])
    assert f"images/{image.name}: Expected a PNG picture" in problems_as_text(damaged)
    with pytest.raises(WorldError, match="Expected a PNG picture"):
        load_world(damaged).image(image.stem)


@pytest.mark.parametrize(
    ("file", "use"),
    [
        ("tasks.jsonl", lambda world: world.tasks()),
        ("documents.jsonl", lambda world: world.documents),
        ("images.jsonl", lambda world: world.pictures),
        ("recordings/tiny.jsonl", lambda world: list(world.recordings())),
    ],
)
def test_a_truncated_file_is_refused_with_its_last_line(damaged, file, use):
    data = (damaged / file).read_bytes()
    (damaged / file).write_bytes(data[:-20])
    last = data.count(b"\n")
    assert f"{file}, line {last}: " in problems_as_text(damaged)
    assert f"{file}: Expected {len(data)} bytes, got {len(data) - 20}" in problems_as_text(damaged)
    with pytest.raises(WorldError, match=f"tiny/{file}, line {last}: "):
        use(load_world(damaged))


def test_a_changed_answer_is_found(damaged):
    tasks = damaged / "tasks.jsonl"
    tasks.write_bytes(tasks.read_bytes().replace(b'"Azurton"', b'"Azurtan"'))
    assert "tasks.jsonl: Expected sha256" in problems_as_text(damaged)
    with pytest.raises(WorldError, match=r"tiny/tasks\.jsonl: Expected sha256 .* was changed"):
        load_world(damaged).task("tiny-01")


def test_a_missing_file_is_found(damaged):
    image = an_image(damaged)
    image.unlink()
    assert [(problem.file, problem.line) for problem in verify_world(damaged)] == [(f"images/{image.name}", None)]
    with pytest.raises(WorldError, match="is missing"):
        load_world(damaged).image(image.stem)


def test_a_file_that_is_not_listed_is_found(damaged):
    (damaged / "notes.txt").write_text("x")
    assert [problem.file for problem in verify_world(damaged)] == ["notes.txt"]
    with pytest.raises(WorldError, match=r"notes\.txt"):
        load_world(damaged, check="full")


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/hostname", "images/../../secret.txt", "a\\b", "c:d", "a//b", "\0"]
)
def test_a_path_out_of_the_world_is_refused(damaged, name):
    edit_manifest(damaged, lambda manifest: manifest["files"].update({name: file_entry(b"")}))
    assert "may not point outside itself" in problems_as_text(damaged)
    with pytest.raises(WorldError, match="may not point outside itself"):
        load_world(damaged)


@pytest.mark.skipif(os.name != "posix", reason="links need rights on this system")
def test_a_link_out_of_the_world_is_refused(damaged, tmp_path):
    data = (damaged / "tasks.jsonl").read_bytes()
    (tmp_path / "tasks.jsonl").write_bytes(data)
    (damaged / "tasks.jsonl").unlink()
    (damaged / "tasks.jsonl").symlink_to(tmp_path / "tasks.jsonl")
    assert "tasks.jsonl: Expected a file inside the world's folder" in problems_as_text(damaged)
    with pytest.raises(WorldError, match="a link out of it"):
        load_world(damaged).tasks()


def test_a_newer_format_is_refused_as_such(damaged):
    edit_manifest(damaged, lambda manifest: manifest.update(format_version=2))
    assert "was written by a newer version" in problems_as_text(damaged)
    with pytest.raises(WorldError, match=r"world\.json: .*was written by a newer version of mmsearch-env"):
        load_world(damaged)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.pop("format_version"), "'format_version' to be 1, got None"),
        (lambda manifest: manifest.update(format_version=True), "'format_version' to be 1, got True"),
        (lambda manifest: manifest.update(name=3), "'name' to be a non-empty string, got 3"),
        (lambda manifest: manifest.pop("files"), "'files' to map paths"),
        (lambda manifest: manifest["files"].pop("tasks.jsonl"), "'files' to list 'tasks.jsonl'"),
        (lambda manifest: manifest["files"]["tasks.jsonl"].pop("sha256"), "for 'tasks.jsonl', got"),
        (lambda manifest: manifest["files"].update({"world.json": file_entry(b"")}), "its own hash"),
        (lambda manifest: manifest.update(counts=[]), "'counts' to map names"),
    ],
)
def test_a_broken_manifest_is_refused(damaged, change, message):
    edit_manifest(damaged, change)
    assert message in problems_as_text(damaged)
    with pytest.raises(WorldError) as caught:
        load_world(damaged)
    assert message in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"\xff"', b'{"format_version": NaN}', b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(damaged, data):
    (damaged / "world.json").write_bytes(data)
    with pytest.raises(WorldError, match=r"world\.json"):
        load_world(damaged)
    assert [problem.file for problem in verify_world(damaged)] == ["world.json"]


def test_counts_are_compared_with_the_rows(damaged):
    edit_manifest(damaged, lambda manifest: manifest["counts"].update(tasks=9))
    assert "world.json: Expected 'counts'" in problems_as_text(damaged)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("answers"), "Expected the key 'answers'"),
        (lambda row: row.update(answers=[]), "Expected 'answers' to be a non-empty list"),
        (lambda row: row.update(answers="Redland"), "Expected 'answers' to be a non-empty list"),
        (lambda row: row.update(split="dev"), "train, validation, test, ood, got 'dev'"),
        (lambda row: row.update(needs_search=1), "Expected 'needs_search' to be true or false, got 1"),
        (lambda row: row.update(boxes={"x": [0, 0, 0, 9]}), "left < right"),
        (lambda row: row.update(boxes={"x": [0, 0, 1.5, 9]}), "whole pixels"),
        (lambda row: row.update(id="tiny-00"), "got 'tiny-00' as on line 1"),
        (lambda row: row.update(image="../../etc/passwd"), "Expected 'image' to be a picture's digest"),
        (lambda row: row.update(question="\ud800"), "surrogates not allowed"),
    ],
)
def test_a_task_row_against_the_schema_is_refused_with_its_line(damaged, change, message):
    lines = (damaged / "tasks.jsonl").read_bytes().splitlines(keepends=True)
    row = json.loads(lines[3])
    change(row)
    lines[3] = json.dumps(row).encode() + b"\n"
    rewrite(damaged, "tasks.jsonl", b"".join(lines))
    assert any(problem.line == 4 and message in problem.message for problem in verify_world(damaged))
    with pytest.raises(WorldError, match=r"tiny/tasks\.jsonl, line 4: ") as caught:
        load_world(damaged).tasks()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "tasks.jsonl",
            lambda row: row["boxes"].update({"the left flag": [6, 8, 97, 34]}),
            "inside the picture (96 x 64)",
        ),
        ("tasks.jsonl", lambda row: row["boxes"].update({"the left flag": [7, 8, 42, 34]}), "Expected one box for"),
        ("tasks.jsonl", lambda row: row.update(expression="the third flag"), "Expected a box for the expression"),
        ("tasks.jsonl", lambda row: row.update(image="0" * 64), "Expected 'image' to be a picture of the world"),
        ("tasks.jsonl", lambda row: row.update(evidence=["doc-none"]), "Expected 'evidence' to name documents"),
        ("tasks.jsonl", lambda row: row.update(split="test"), "to be disjoint"),
        ("images.jsonl", lambda row: row.update(document_id="doc-none"), "Expected 'document_id' to be a document"),
        ("images.jsonl", lambda row: row.update(image="0" * 64), "Expected 'image' to be a picture of the world"),
        ("recordings/tiny.jsonl", lambda row: row.update(k=4), "Expected the key v1:text:"),
        ("recordings/tiny.jsonl", lambda row: row["hits"][0].update(document_id="x"), "to be a document of the world"),
        ("recordings/tiny.jsonl", lambda row: row.update(fault={"kind": "a", "message": "b"}), "exactly one of 'hits'"),
        ("recordings/tiny.jsonl", lambda row: row.update(query={}), "Expected 'query' to be"),
        ("documents.jsonl", lambda row: row.pop("text"), "Expected the key 'text'"),
    ],
)
def test_a_row_that_contradicts_the_world_is_found_with_its_line(damaged, file, change, message):
    edit_row(damaged, file, 0, change)
    problems = verify_world(damaged)
    found = [problem for problem in problems if problem.file == file and message in problem.message]
    assert found, problems
    assert all(problem.line is not None for problem in found)


def test_every_row_needs_a_licence_where_the_world_has_none(damaged):
    edit_manifest(damaged, lambda manifest: manifest.update(licence=None))
    problems = verify_world(damaged)
    assert all("'licence'" in problem.message for problem in problems)
    # Pages about towns, the two others and all tasks name none; pages about countries and web pictures do.
    assert {problem.file for problem in problems} == {"tasks.jsonl", "documents.jsonl"}
    assert [problem.line for problem in problems if problem.file == "documents.jsonl"] == [2, 4, 6, 8, 10, 12, 13, 14]


def test_all_problems_are_told_at_once(damaged):
    (damaged / "notes.txt").write_text("x")
    edit_row(damaged, "tasks.jsonl", 2, lambda row: row.pop("question"))
    edit_row(damaged, "documents.jsonl", 1, lambda row: row.update(url=None))
    assert {problem.file for problem in verify_world(damaged)} >= {"notes.txt", "tasks.jsonl", "documents.jsonl"}


@pytest.mark.parametrize(
    "array",
    [np.zeros((5, 8), np.int16), np.zeros((6, 8), np.float32), np.zeros(6, np.int16), np.array([{}], dtype=object)],
)
def test_descriptors_of_another_shape_or_kind_are_refused(damaged, tmp_path, array):
    np.save(tmp_path / "array.npy", array, allow_pickle=True)
    rewrite(damaged, "descriptors/layout.npy", (tmp_path / "array.npy").read_bytes())
    assert "descriptors/layout.npy: Expected" in problems_as_text(damaged)
    with pytest.raises(WorldError, match=r"descriptors/layout\.npy: Expected"):
        load_world(damaged).descriptors("layout")


def test_the_hash_follows_from_the_manifest_alone(tiny_world, damaged):
    assert (
        load_world(damaged).hash == tiny_world.hash == hashlib.sha256((damaged / "world.json").read_bytes()).hexdigest()
    )
    edit_manifest(damaged, lambda manifest: manifest.update(description="another"))
    assert load_world(damaged).hash != tiny_world.hash


def test_tasks_are_plain_records(tiny_world):
    assert all(isinstance(task, Task) and isinstance(task.answers, tuple) for task in tiny_world.tasks())


def test_the_bundled_worlds_are_sound():
    worlds = list_worlds()
    if not worlds:
        pytest.skip("no world is bundled in this checkout")
    assert {info.name: [str(problem) for problem in verify_world(info.path)] for info in worlds} == {
        info.name: [] for info in worlds
    }
