//! Builds logs as docs/formats say, with a place to put every lie.
//!
//! Not here: anything that ships; the writer is ledger/log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ed25519_dalek::Signer as _;
use keys_public::{
    KeyKind, KeyName, LogKeys, Note, SignatureLine, TrustFile, VerifierKey,
    ed25519_cosignature_message, ml_dsa_message, trust_file_for,
};
use ledger_core::entry::{Entry, Flags, Kind};
use ledger_core::frame::{FrameBody, FrameHeader};
use ledger_core::history::{HISTORY_MAGIC, HistoryRecord, Keep};
use ledger_core::layout::{entries_name, payloads_name};
use ledger_core::payload::{BlockWriter, PayloadHeader, StoredPart, put_payload};
use ledger_core::segment::SegmentHeader;
use ledger_core::state::{Gap, Mark, Position, ShortMac, SourceState, Stream};
use ledger_core::{
    Checkpoint, Epoch, Hash, Index, Nanos, Origin, Part, RightEdge, Salt, Sequence, SourceId,
    TreeSize, part_commitment, payload_commitment,
};
use ledger_event::facts::{Facts as _, Opened, SourceRegistered};
use ml_dsa::{Keypair as _, MlDsa44};

pub(super) const ORIGIN: &str = "example.org/main/2026";
pub(super) const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_795_000_000 * SECOND;

/// The keys of a log, from fixed seeds.
pub(super) struct Keys {
    ed25519: ed25519_dalek::SigningKey,
    ml_dsa: ml_dsa::SigningKey<MlDsa44>,
}

impl Keys {
    pub(super) fn new(seed: u8) -> Keys {
        Keys {
            ed25519: ed25519_dalek::SigningKey::from_bytes(&[seed; 32]),
            ml_dsa: ml_dsa::SigningKey::from_seed(&[seed; 32].into()),
        }
    }

    pub(super) fn public(&self, origin: &str) -> LogKeys {
        LogKeys::new(self.classical(origin, KeyKind::Ed25519), self.pq(origin)).unwrap()
    }

    pub(super) fn classical(&self, name: &str, kind: KeyKind) -> VerifierKey {
        let public = self.ed25519.verifying_key().to_bytes();
        VerifierKey::new(KeyName::new(name).unwrap(), kind, &public).unwrap()
    }

    fn pq(&self, name: &str) -> VerifierKey {
        let public = self.ml_dsa.verifying_key().encode();
        VerifierKey::new(KeyName::new(name).unwrap(), KeyKind::MlDsa44, &public).unwrap()
    }

    /// The log's two lines over a checkpoint.
    pub(super) fn sign(&self, checkpoint: &Checkpoint, time: u64) -> Note {
        let name = checkpoint.origin.as_str();
        let mut note = Note::new(checkpoint.encode()).unwrap();
        let signature = self.ed25519.sign(note.text().as_bytes()).to_bytes();
        let line = SignatureLine::of(&self.classical(name, KeyKind::Ed25519), signature.to_vec());
        note.add(line).unwrap();
        let message = ml_dsa_message(&KeyName::new(name).unwrap(), time, checkpoint);
        let expanded = self.ml_dsa.expanded_key();
        let signature = expanded.sign_deterministic(&message, &[]).unwrap().encode();
        let bytes = [&time.to_be_bytes()[..], &signature].concat();
        note.add(SignatureLine::of(&self.pq(name), bytes)).unwrap();
        note
    }

    /// Adds a witness's line.
    pub(super) fn cosign(&self, note: &mut Note, name: &str, time: u64) {
        let message = ed25519_cosignature_message(time, note.text());
        let signature = self.ed25519.sign(&message).to_bytes();
        let bytes = [&time.to_be_bytes()[..], &signature].concat();
        let key = self.classical(name, KeyKind::Ed25519Cosignature);
        note.add(SignatureLine::of(&key, bytes)).unwrap();
    }
}

/// One entry to be written.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) entry: Entry,
    pub(super) mac: ShortMac,
    pub(super) parts: [Option<Vec<u8>>; 3],
    /// Parts of which only the commitment is stored.
    pub(super) erased: [bool; 3],
}

impl Draft {
    /// An entry of the log itself.
    pub(super) fn own(kind: Kind, facts: &[u8]) -> Draft {
        Draft::of(kind, SourceId::LOG, 0, 0, facts)
    }

    /// A message of a source in the epoch 7.
    pub(super) fn message(source: u32, sequence: u64) -> Draft {
        let facts = format!("{{\"class_uid\":6005,\"n\":{sequence}}}");
        let kind = Kind::EVENT;
        let mut draft = Draft::of(kind, SourceId(source), 7, sequence, facts.as_bytes());
        let text = format!("select {sequence} from accounts where owner = 'someone'; ");
        draft.parts[2] = Some(text.repeat(8).into_bytes());
        draft
    }

    pub(super) fn with(mut self, flags: Flags) -> Draft {
        self.entry.flags = self.entry.flags.with(flags);
        self
    }

    fn of(kind: Kind, source: SourceId, epoch: u32, sequence: u64, facts: &[u8]) -> Draft {
        let mac = match source {
            SourceId::LOG => ShortMac::ZERO,
            _ => ShortMac::of(&Hash::sha256(facts).0),
        };
        Draft {
            entry: Entry {
                kind,
                flags: Flags::NONE,
                class_uid: 0,
                activity: 0,
                status: 0,
                severity: 0,
                source,
                epoch: Epoch(epoch),
                sequence: Sequence(sequence),
                event_time: Nanos(0),
                ledger_time: Nanos(0),
                commitment: Hash::ZERO,
            },
            mac,
            parts: [Some(facts.to_vec()), None, None],
            erased: [false; 3],
        }
    }
}

/// A frame before it is encoded: change what you like.
pub(super) struct Plan {
    pub(super) drafts: Vec<Draft>,
    pub(super) salts: Vec<[Salt; 3]>,
    pub(super) header: FrameHeader,
    pub(super) sources: Vec<SourceState>,
    pub(super) positions: Vec<Position>,
}

pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) entries: Vec<u8>,
    pub(super) payloads: Vec<u8>,
}

/// Changes a segment header before it is written.
pub(super) type HeaderLie = Box<dyn Fn(&mut SegmentHeader)>;

/// A log in memory.
pub(super) struct TestLog {
    pub(super) keys: Keys,
    pub(super) origin: Origin,
    pub(super) segments: Vec<Segment>,
    pub(super) history: Vec<u8>,
    pub(super) last_note: Vec<u8>,
    /// What the next segment's header will say, once.
    pub(super) header_lie: Option<HeaderLie>,
    pub(super) time: i64,
    pub(super) edge: RightEdge,
    /// Stored hashes by tile level.
    pub(super) hashes: BTreeMap<u8, Vec<Hash>>,
    pub(super) durable: TreeSize,
    pub(super) trust: String,
    /// Payloads beside the entries; a large log does without.
    pub(super) compressing: BlockWriter,
    sources: BTreeMap<SourceId, SourceState>,
    positions: BTreeMap<String, Vec<u8>>,
    finished: bool,
}

/// A log on disk, with its trust file.
pub(super) struct Saved {
    pub(super) dir: tempfile::TempDir,
    pub(super) trust: TrustFile,
}

impl Saved {
    pub(super) fn folder(&self) -> PathBuf {
        self.dir.path().join("logs/main/2026")
    }
}

impl TestLog {
    /// A log without entries.
    pub(super) fn empty() -> TestLog {
        let keys = Keys::new(1);
        let trust = trust_file_for(&keys.public(ORIGIN));
        TestLog {
            keys,
            origin: Origin::new(ORIGIN).unwrap(),
            segments: Vec::new(),
            history: HISTORY_MAGIC.to_vec(),
            last_note: Vec::new(),
            header_lie: None,
            time: START,
            edge: RightEdge::new(),
            hashes: BTreeMap::new(),
            durable: TreeSize(0),
            trust,
            compressing: BlockWriter::new().unwrap(),
            sources: BTreeMap::new(),
            positions: BTreeMap::new(),
            finished: true,
        }
    }

    /// A log with its first entry.
    pub(super) fn new() -> TestLog {
        let mut log = TestLog::empty();
        let facts = log.opened();
        log.append(vec![Draft::own(Kind::OPENED, &facts.to_json())]);
        log
    }

    pub(super) fn opened(&self) -> Opened {
        let keys = self.keys.public(self.origin.as_str());
        Opened {
            origin: self.origin.to_string(),
            keys: vec![keys.ed25519().to_string(), keys.ml_dsa().to_string()],
            evidence_keys: Vec::new(),
            founders: Vec::new(),
            previous: None,
            software: "test".to_owned(),
        }
    }

    /// The log that most tests damage: three segments, gaps and late messages, every checkpoint kept,
    /// stopped cleanly.
    pub(super) fn sample() -> TestLog {
        let mut log = TestLog::new();
        log.register("first");
        log.register("second");
        log.sign();
        for start in [1u64, 101, 201] {
            let numbers = start..start + 100;
            let drafts: Vec<Draft> = numbers.map(|n| Draft::message(1, n)).collect();
            let (some, others) = drafts.split_at(60);
            log.append(some.to_vec());
            log.append(others.to_vec());
            log.append(vec![Draft::message(2, start)]);
            log.sign();
            log.finish();
        }
        log.append(vec![Draft::message(2, 204), Draft::own(Kind::GAP, b"{}")]);
        log.append(vec![Draft::message(2, 202).with(Flags::LATE)]);
        let mut erased = Draft::message(2, 205);
        erased.erased = [false, false, true];
        log.append(vec![erased, Draft::own(Kind::TICK, b"{}")]);
        log.sign();
        log.finish();
        log
    }

    /// The same, interrupted: the last segment is unfinished and grown ahead.
    pub(super) fn interrupted() -> TestLog {
        let mut log = TestLog::sample();
        log.append(vec![Draft::message(1, 301), Draft::message(1, 302)]);
        log.append(vec![Draft::message(1, 303)]);
        let last = log.segments.last_mut().unwrap();
        last.entries.extend_from_slice(&[0; 5000]);
        last.payloads.extend_from_slice(&[0; 9000]);
        log
    }

    pub(super) fn size(&self) -> u64 {
        self.edge.size().0
    }

    /// Registers a source.
    pub(super) fn register(&mut self, name: &str) {
        let id = u32::try_from(self.sources.len()).unwrap() + 1;
        self.register_as(&registration(id, name), id, name);
    }

    /// Registers a source by an entry that says something else of it, or nothing.
    pub(super) fn register_as(&mut self, facts: &[u8], id: u32, name: &str) {
        let mut plan = self.plan(vec![Draft::own(Kind::SOURCE, facts)]);
        plan.sources.push(fresh(id, name));
        plan.positions.push(Position {
            key: format!("file:{name}"),
            value: vec![id.to_be_bytes()[3]],
        });
        self.write(plan);
    }

    pub(super) fn append(&mut self, drafts: Vec<Draft>) {
        let plan = self.plan(drafts);
        self.write(plan);
    }

    /// A true frame of these entries, and of what they change.
    pub(super) fn plan(&mut self, drafts: Vec<Draft>) -> Plan {
        if self.finished {
            self.begin();
        }
        let mut drafts = drafts;
        let mut salts = Vec::new();
        let mut touched = BTreeMap::new();
        for (draft, n) in drafts.iter_mut().zip(self.size()..) {
            self.time += SECOND / 3;
            draft.entry.ledger_time = Nanos(self.time);
            let salted = |part: &Option<Vec<u8>>, number: u8, erased: bool| match part {
                Some(_) if !erased => {
                    let seed = Hash::sha256(&[&n.to_be_bytes()[..], &[number]].concat());
                    Salt(seed.0[..16].try_into().unwrap())
                }
                Some(_) | None => Salt::ZERO,
            };
            let [facts, who, text] = &draft.parts;
            salts.push([
                salted(facts, 0, draft.erased[0]),
                salted(who, 1, draft.erased[1]),
                salted(text, 2, draft.erased[2]),
            ]);
            draft.entry.commitment =
                payload_commitment(&commitments(draft, &salts[salts.len() - 1]));
            if let Some(state) = self.sources.get_mut(&draft.entry.source) {
                place(state, draft);
                touched.insert(state.id, state.clone());
            }
        }
        let payload_start = self.segments.last().unwrap().payloads.len() as u64;
        let header = FrameHeader {
            first: Index(self.size()),
            entry_count: 0,
            body_len: 0,
            arrays_durable: self.durable,
            payload_start,
            payload_end: 0,
            block_count: 0,
            finished: false,
            body_crc: 0,
        };
        Plan {
            drafts,
            salts,
            header,
            sources: touched.into_values().collect(),
            positions: Vec::new(),
        }
    }

    /// Writes a frame as planned.
    pub(super) fn write(&mut self, plan: Plan) {
        self.write_changed(plan, &|_, _| ());
    }

    /// Writes a frame, changed at the last moment: only checksums and counts are made true.
    pub(super) fn write_changed(
        &mut self,
        plan: Plan,
        change: &dyn Fn(&mut FrameHeader, &mut FrameBody),
    ) {
        let mut body = FrameBody::default();
        let mut blocks = Vec::new();
        for (drafts, salts) in plan.drafts.chunks(40).zip(plan.salts.chunks(40)) {
            let mut raw = Vec::new();
            for (draft, salts) in drafts.iter().zip(salts) {
                body.entries.extend_from_slice(&draft.entry.encode());
                body.macs.extend_from_slice(&draft.mac.0);
                let hashes = commitments(draft, salts);
                let mut stored = [StoredPart::Absent; 3];
                for (n, part) in draft.parts.iter().enumerate() {
                    stored[n] = match part {
                        Some(_) if draft.erased[n] => StoredPart::Erased(hashes[n]),
                        Some(bytes) => StoredPart::Present(bytes),
                        None => StoredPart::Absent,
                    };
                }
                put_payload(&mut raw, &stored);
            }
            let count = u32::try_from(drafts.len()).unwrap();
            let block = self.compressing.put(&raw, count, &mut blocks).unwrap();
            body.blocks.push(block);
        }
        let segment = self.segments.last_mut().unwrap();
        for salt in plan.salts.iter().flatten() {
            segment.payloads.extend_from_slice(&salt.0);
        }
        segment.payloads.extend_from_slice(&blocks);
        for state in &plan.sources {
            self.sources.insert(state.id, state.clone());
        }
        for Position { key, value } in &plan.positions {
            self.positions.insert(key.clone(), value.clone());
        }
        body.sources = plan.sources;
        body.positions = plan.positions;
        let mut header = plan.header;
        header.payload_end = segment.payloads.len() as u64;
        change(&mut header, &mut body);
        segment.entries.extend_from_slice(&body.encode(header));
        for entry in body.entries.chunks_exact(Entry::LEN) {
            let hashes = &mut self.hashes;
            let leaf = ledger_core::leaf_hash(entry);
            self.edge.push_observed(leaf, &mut |level, _, hash| {
                if level % 8 == 0 {
                    hashes.entry(level / 8).or_default().push(hash);
                }
            });
        }
    }

    fn begin(&mut self) {
        let mut header = SegmentHeader {
            origin: self.origin.clone(),
            edge: self.edge.clone(),
            arrays_durable: self.durable,
            ledger_time: Nanos(if self.size() == 0 { 0 } else { self.time }),
            sources: self.sources.values().cloned().collect(),
            positions: (self.positions.iter())
                .map(|(key, value)| Position {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
        };
        if let Some(lie) = self.header_lie.take() {
            lie(&mut header);
        }
        let payloads = PayloadHeader {
            first: Index(self.size()),
            generation: 0,
            origin: Hash::sha256(self.origin.as_str().as_bytes()),
        };
        self.segments.push(Segment {
            first: self.size(),
            entries: header.encode(),
            payloads: payloads.encode(),
        });
        self.finished = false;
    }

    /// Ends the segment.
    pub(super) fn finish(&mut self) {
        self.durable = self.edge.size();
        let mut plan = self.plan(Vec::new());
        plan.header.finished = true;
        self.write(plan);
        self.finished = true;
    }

    /// The checkpoint of what is there.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            origin: self.origin.clone(),
            size: self.edge.size(),
            root: self.edge.root(),
        }
    }

    /// The time that a true signature of now states.
    pub(super) fn seconds(&self) -> u64 {
        u64::try_from(Nanos(self.time).seconds_up()).unwrap()
    }

    /// Signs what is there, keeps it and makes it the last note.
    pub(super) fn sign(&mut self) {
        let note = self.keys.sign(&self.checkpoint(), self.seconds());
        self.keep(&note.encode(), self.time);
        self.last_note = note.encode();
    }

    /// Marks the last record of the history as the one at which the log was stopped.
    pub(super) fn stop(&mut self) {
        let last = self.history.len() - self.last_note.len() - 20;
        self.history.truncate(last);
        HistoryRecord {
            keep: Keep::STOPPED,
            published: Nanos(self.time),
            note: &self.last_note,
        }
        .encode(&mut self.history);
    }

    /// Appends a record to the history.
    pub(super) fn keep(&mut self, note: &[u8], published: i64) {
        HistoryRecord {
            keep: Keep::FOR_A_WHILE,
            published: Nanos(published),
            note,
        }
        .encode(&mut self.history);
    }

    pub(super) fn save(&self) -> Saved {
        let dir = tempfile::tempdir().unwrap();
        let trust = TrustFile::parse(&self.trust).unwrap();
        let saved = Saved { dir, trust };
        let folder = saved.folder();
        std::fs::create_dir_all(folder.join("hashes")).unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
        for segment in &self.segments {
            put(&entries_name(Index(segment.first)), &segment.entries);
            put(&payloads_name(Index(segment.first), 0), &segment.payloads);
        }
        for (level, hashes) in &self.hashes {
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            put(&format!("hashes/{level}.00000000"), &bytes);
        }
        put("checkpoints", &self.history);
        put("last-note", &self.last_note);
        saved
    }
}

/// A source that sent nothing yet.
pub(super) fn fresh(id: u32, name: &str) -> SourceState {
    SourceState {
        id: SourceId(id),
        name: name.to_owned(),
        platform: "postgresql".to_owned(),
        keyed: false,
        epoch: Epoch(0),
        marks: [Mark::default(); 3],
        gaps: Vec::new(),
    }
}

/// The facts that register it.
pub(super) fn registration(id: u32, name: &str) -> Vec<u8> {
    let facts = SourceRegistered {
        id: SourceId(id),
        name: name.to_owned(),
        platform: "postgresql".to_owned(),
        key_fingerprint: None,
        settings: Vec::new(),
    };
    facts.to_json()
}

fn commitments(draft: &Draft, salts: &[Salt; 3]) -> [Hash; 3] {
    let mut hashes = [Hash::ZERO; 3];
    for (n, part) in draft.parts.iter().enumerate() {
        if let Some(bytes) = part {
            hashes[n] = part_commitment(Part::ALL[n], &salts[n], bytes);
        }
    }
    hashes
}

/// Moves a source's state as docs/formats/entry.md says.
fn place(state: &mut SourceState, draft: &Draft) {
    let entry = &draft.entry;
    if [Kind::CONFLICT, Kind::FORGED].contains(&entry.kind) {
        return;
    }
    if entry.epoch > state.epoch {
        state.epoch = entry.epoch;
        state.marks = [Mark::default(); 3];
        state.gaps.clear();
    }
    let (stream, number) = match entry.kind {
        Kind::HEARTBEAT => (Stream::Heartbeat, 1),
        Kind::SNAPSHOT => (Stream::Snapshot, 2),
        _ => (Stream::Record, 0),
    };
    let gap = |from: u64, to: u64| Gap {
        stream,
        from: Sequence(from),
        to: Sequence(to),
        before: ShortMac::ZERO,
        last: ShortMac::ZERO,
    };
    let (sequence, mark) = (entry.sequence.0, &mut state.marks[number]);
    if entry.flags.contains(Flags::LATE) {
        let inside = |g: &Gap| g.from.0 <= sequence && sequence <= g.to.0 && g.stream == stream;
        let Some(n) = state.gaps.iter().position(inside) else {
            return;
        };
        let hole = state.gaps.remove(n);
        if hole.from.0 < sequence {
            state.gaps.push(gap(hole.from.0, sequence - 1));
        }
        if sequence < hole.to.0 {
            state.gaps.push(gap(sequence + 1, hole.to.0));
        }
        return;
    }
    if sequence <= mark.sequence.0 {
        return;
    }
    if sequence > mark.sequence.0 + 1 {
        state.gaps.push(gap(mark.sequence.0 + 1, sequence - 1));
    }
    *mark = Mark {
        sequence: entry.sequence,
        mac: draft.mac,
    };
}

/// Changes one byte of a file.
pub(super) fn flip(folder: &Path, file: &str, at: usize) {
    let path = folder.join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 0x01;
    std::fs::write(&path, bytes).unwrap();
}
