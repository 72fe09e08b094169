"""Checkpoints in an object store (S3 and what speaks like it), through the library obstore.

    URL/manifest                 what the tape is, as in its folder
    URL/code/<sha256>            the sources it names
    URL/versions/<sha256>.json   the versions of the pipeline that ran on it
    URL/checkpoints/...          manifests and packs, under the names they have in the tape's folder

A pack is named by what is in it, so one that is there need not be sent again: what goes up is the
chunks that are new. Packs and versions come before the manifest that names them, and at removal
manifests before packs, so what can be seen is whole at any time. The frames of the tape are not
brought there.

Where the store is and who we are it learns from the environment, as other tools do:
AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or the machine's role;
AWS_ALLOW_HTTP=true for a server without TLS.
"""

import os
import shutil
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from onetape.records import IntegrityError, OperatorError
from onetape.tape import checkpoint, checkpoint_keep, layout
from onetape.tape.checkpoint_manifest import (
    PACK_SUFFIX,
    SUFFIX,
    Manifest,
    folder_of,
    from_bytes,
    manifest_path,
    to_bytes,
)
from onetape.tape.folder import make_folder

PART_BYTES = 1 << 23
SCHEMES = ("s3://", "gs://", "az://", "file://")


class Uploaded(NamedTuple):
    offset: int
    bytes_done: int
    trouble: str  # why old ones could not be removed, if so


class CheckpointStore:
    """The checkpoints of one tape at `url`. Calls raise OperatorError: what the store said."""

    def __init__(
        self, url: str, retention: checkpoint_keep.Retention = checkpoint_keep.DEFAULT
    ) -> None:
        if not url.startswith(SCHEMES):
            raise OperatorError(
                f"checkpoints cannot go to {url!r}; expected s3://BUCKET/PREFIX (or gs://, az://)"
            )
        try:
            from obstore.store import from_url
        except ImportError:
            raise OperatorError(
                f"{url} takes the library obstore, which is not installed; "
                'install it: pip install "onetape[s3]"'
            ) from None
        self.url, self.retention = url.rstrip("/"), retention
        local = {"mkdir": True} if url.startswith("file://") else {}
        # Servers differ in how they remove many objects at once; one by one all of them do.
        config = {"disable_bulk_delete": True} if url.startswith("s3://") else None
        remote = {
            "config": config,
            "client_options": {
                "connect_timeout": "5s",
                "timeout": "120s",
                "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("true", "1"),
            },
            "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=20)},
        }
        try:
            self._store: Any = from_url(self.url, **(local or remote))  # type: ignore[call-overload]
        except Exception as why:
            raise self._problem("cannot be used", why) from None
        self._known: dict[int, Manifest] = {}  # manifests that are there
        self._versions: set[str] | None = None  # those that are there; None: not looked yet

    def upload(self, tape: str) -> Uploaded | None:
        """Bring the newest checkpoint of the tape there, if it is not; then remove old ones.

        None: there is no checkpoint yet. OperatorError also where another tape's are.
        """
        base = folder_of(tape)
        found = checkpoint_keep.readable(base)[:1]
        if not found:
            return None
        manifest, there, done = found[0], self._sizes("checkpoints"), 0
        self._claim(tape)
        done += self._bring_versions(tape)
        for pack in manifest.packs:
            if there.get(pack.name) != pack.size_bytes:
                done += self._put(f"checkpoints/{pack.name}", os.path.join(base, pack.name))
        path = manifest_path(base, manifest.offset)
        if there.get(os.path.basename(path)) != os.path.getsize(path):
            done += self._put(f"checkpoints/{os.path.basename(path)}", path)
        self._known[manifest.offset] = manifest
        try:
            self._collect()
        except OperatorError as why:
            return Uploaded(manifest.offset, done, str(why))
        return Uploaded(manifest.offset, done, "")

    def restore(self, tape: str) -> tuple[Manifest, list[str]]:
        """Make the folder `tape` of the newest checkpoint there that is whole.

        It is a tape that begins at that checkpoint: its frames before are not there. Also what is
        to be said of newer ones that are damaged. OperatorError: there is none; the folder is not
        empty.
        """
        facts = self._facts()
        if facts is None or not (offsets := self._offsets()):
            raise OperatorError(f"{self.url} holds no checkpoints; give what --checkpoints was")
        problems = list[str]()
        for offset in reversed(offsets):
            try:
                manifest = self._manifest(offset)
                return self._make(tape, facts, manifest), problems
            except IntegrityError as why:
                problems.append(str(why))
        raise IntegrityError(f"{self.url}: every checkpoint there is damaged: {problems[0]}")

    def _make(self, tape: str, facts: layout.Facts, manifest: Manifest) -> Manifest:
        """The folder, under a name of its own until it is whole."""
        path = os.path.abspath(tape)
        fresh, base = path + ".restoring", folder_of(path + ".restoring")
        start = manifest.position // facts.segment_bytes + 1
        begins = facts._replace(start_segment=start, start_offset=manifest.offset)
        position = start * facts.segment_bytes
        if os.path.exists(path) and os.listdir(path):
            raise OperatorError(f"{path} is not empty; a tape is restored to a folder of its own")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            make_folder(fresh, begins)
            for folder in (layout.CODE, layout.VERSIONS):
                names = self._sizes(folder)
                if names:
                    os.makedirs(os.path.join(fresh, folder), exist_ok=True)
                for name in names:
                    path_of = os.path.join(fresh, folder, name)
                    layout.replace_file(path_of, self._get(f"{folder}/{name}"))
            for pack in manifest.packs:
                layout.replace_with(os.path.join(base, pack.name), self._parts(pack.name))
            manifest = manifest._replace(position=position)
            layout.replace_file(manifest_path(base, manifest.offset), to_bytes(manifest))
            checkpoint.check(fresh, manifest.offset)
            epoch = int(manifest.header["epoch"])
            mark = layout.Watermark(3, position, manifest.offset, epoch)
            layout.write_watermark(fresh, begins, mark)
            os.replace(fresh, path)
            layout.sync_folder(os.path.dirname(path))
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return manifest

    def _claim(self, tape: str) -> None:
        """This place is of one tape: say which, or find that it is another's."""
        ours, theirs = layout.read_facts(tape), self._facts()
        if theirs is None:
            code = os.path.join(tape, layout.CODE)
            for name in os.listdir(code):
                self._put(f"code/{name}", os.path.join(code, name))
            self._put("manifest", os.path.join(tape, layout.MANIFEST))
        elif theirs.tape_id != ours.tape_id:
            raise OperatorError(
                f"{self.url} holds the checkpoints of another tape ({theirs.tape_id:016x}, this "
                f"one is {ours.tape_id:016x}); give each tape a prefix of its own"
            )

    def _bring_versions(self, tape: str) -> int:
        """A version lies beside the tape before the first frame that it runs; how many bytes."""
        folder, done = os.path.join(tape, layout.VERSIONS), 0
        names = os.listdir(folder) if os.path.isdir(folder) else []
        wanted = {name for name in names if layout.is_version(name)}
        if self._versions is None and wanted:
            self._versions = set(self._sizes(layout.VERSIONS))
        for name in sorted(wanted - (self._versions or set())):
            done += self._put(f"{layout.VERSIONS}/{name}", os.path.join(folder, name))
            self._versions = {*(self._versions or ()), name}
        return done

    def _collect(self) -> None:
        """Remove what retention does not keep, and manifests that cannot be read."""
        manifests = list[Manifest]()
        for offset in (offsets := self._offsets()):
            with suppress(IntegrityError):
                manifests.append(self._manifest(offset))
        manifests.sort(key=lambda manifest: -manifest.generation)
        keep = checkpoint_keep.kept(manifests, self.retention)
        gone = [offset for offset in offsets if offset not in keep]
        self._delete([os.path.basename(manifest_path("", offset)) for offset in gone])
        needed = {pack.name for m in manifests if m.offset in keep for pack in m.packs}
        there = self._sizes("checkpoints")
        self._delete([n for n in there if n.endswith(PACK_SUFFIX) and n not in needed])
        self._known = {offset: m for offset, m in self._known.items() if offset in keep}

    # --- the store --------------------------------------------------------------------------------

    def _facts(self) -> layout.Facts | None:
        try:
            data = self._get(layout.MANIFEST)
        except FileNotFoundError:
            return None
        return layout.facts_of(data, f"{self.url}/{layout.MANIFEST}")

    def _manifest(self, offset: int) -> Manifest:
        if offset not in self._known:
            name = os.path.basename(manifest_path("", offset))
            try:
                data = self._get(f"checkpoints/{name}")
            except FileNotFoundError as why:
                raise IntegrityError(f"{self.url}/checkpoints/{name}: it is missing") from why
            self._known[offset] = from_bytes(data, f"{self.url}/checkpoints/{name}")
        return self._known[offset]

    def _offsets(self) -> list[int]:
        names = [n for n in self._sizes("checkpoints") if n.endswith(SUFFIX)]
        return sorted(int(name.removesuffix(SUFFIX)) for name in names)

    def _sizes(self, folder: str) -> dict[str, int]:
        """{name: bytes} of the objects there."""
        try:
            found = [one for some in self._store.list(folder, chunk_size=1000) for one in some]
        except FileNotFoundError:
            return {}
        except Exception as why:
            raise self._problem("cannot be listed", why) from why
        return {one["path"].rpartition("/")[2]: one["size"] for one in found}

    def _put(self, name: str, path: str) -> int:
        """Bring a file there; how many bytes it has."""
        try:
            self._store.put(name, Path(path), chunk_size=PART_BYTES, max_concurrency=2)
        except Exception as why:
            raise self._problem(f"did not take {name}", why) from why
        return os.path.getsize(path)

    def _get(self, name: str) -> bytes:
        try:
            return bytes(self._store.get(name).bytes())
        except FileNotFoundError:
            raise
        except Exception as why:
            raise self._problem(f"did not give {name}", why) from why

    def _parts(self, name: str) -> Any:
        """A pack, piece by piece."""
        try:
            for part in self._store.get(f"checkpoints/{name}").stream(min_chunk_size=PART_BYTES):
                yield bytes(part)
        except FileNotFoundError as why:
            raise IntegrityError(f"{self.url}/checkpoints/{name}: it is missing") from why
        except Exception as why:
            raise self._problem(f"did not give {name}", why) from why

    def _delete(self, names: list[str]) -> None:
        if not names:
            return
        try:
            self._store.delete([f"checkpoints/{name}" for name in names])
        except Exception as why:
            raise self._problem("did not remove old checkpoints", why) from why

    def _problem(self, what: str, why: BaseException) -> OperatorError:
        said = " ".join(str(why).split("\n\nDebug")[0].split())
        return OperatorError(f"{self.url} {what}: {said[:300]}")
