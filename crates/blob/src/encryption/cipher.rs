//! What is encrypted, and how: the one file that calls the cipher.
//!
//! The construction is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption
//! and its Nonce-Reuse Misuse-Resistance", 2015), as in Tink's streaming AEAD: each segment is sealed by
//! AES-256-GCM with a nonce of its number and of whether it is the last, so that no segment can be left
//! out, put elsewhere, or be the end that is none. Each blob has a fresh key, from which that of the
//! segments and the mask of the digest are derived by HKDF; so the first seven bytes of a nonce, which
//! are random there, are zero here.
//!
//! The key of a blob is wrapped by AES-256-GCM under the tenant's, with a random nonce, and with all that
//! is said of the blob as associated data, as the raw AES keyring of the AWS Encryption SDK does it.

use bytes::BytesMut;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk};
use ring::rand::{SecureRandom as _, SystemRandom};
use tenantry_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// How many bytes a tag has.
pub(super) const TAG: usize = 16;
/// How many bytes a key has.
pub(super) const KEY: usize = 32;
pub(super) const WRAPPED: usize = NONCE_LEN + KEY + TAG;

/// The key of one blob.
pub(super) struct DataKey(Zeroizing<[u8; KEY]>);

/// The key of a tenant, by which those of its blobs are wrapped.
pub(super) struct WrappingKey(Zeroizing<[u8; KEY]>);

/// Seals and opens the segments of one blob.
///
/// What `ring` expands the key to is not wiped; it is good for this one blob.
pub(super) struct SegmentCipher(LessSafeKey);

/// It was altered, or belongs elsewhere. More is not known, and nobody is told more.
#[derive(Debug)]
pub(super) struct Altered;

impl DataKey {
    pub(super) fn generate() -> Result<Self> {
        let mut key = Zeroizing::new([0; KEY]);
        fill(&mut *key)?;
        Ok(Self(key))
    }

    pub(super) fn cipher(&self) -> Result<SegmentCipher> {
        let derived = Prk::new_less_safe(HKDF_SHA256, &*self.0);
        let key = derived.expand(&[b"tenantry blob segments"], &AES_256_GCM);
        let key = key.map_err(|_| failed())?.into();
        Ok(SegmentCipher(LessSafeKey::new(key)))
    }

    /// Hides a digest that lies beside the bytes, and shows a hidden one: without the key it tells
    /// nothing, also not that two blobs are equal.
    pub(super) fn masked(&self, digest: [u8; 32]) -> Result<[u8; 32]> {
        let derived = Prk::new_less_safe(HKDF_SHA256, &*self.0);
        let mut mask = [0; 32];
        derived
            .expand(&[b"tenantry blob digest"], HKDF_SHA256)
            .and_then(|expanded| expanded.fill(&mut mask))
            .map_err(|_| failed())?;
        for (mask, byte) in mask.iter_mut().zip(digest) {
            *mask ^= byte;
        }
        Ok(mask)
    }
}

impl WrappingKey {
    /// Takes over the bytes of a key.
    pub(super) const fn new(key: Zeroizing<[u8; KEY]>) -> Self {
        Self(key)
    }

    pub(super) fn wrap(&self, key: &DataKey, about: &str) -> Result<[u8; WRAPPED]> {
        let mut wrapped = [0; WRAPPED];
        let (nonce, sealed) = wrapped.split_at_mut(NONCE_LEN);
        fill(nonce)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let mut inner = Zeroizing::new(*key.0);
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(nonce, Aad::from(about), &mut *inner)
            .map_err(|_| failed())?;
        let (key, rest) = sealed.split_at_mut(KEY);
        key.copy_from_slice(&*inner);
        rest.copy_from_slice(tag.as_ref());
        Ok(wrapped)
    }

    pub(super) fn unwrap(&self, wrapped: &[u8; WRAPPED], about: &str) -> Result<DataKey, Altered> {
        let (nonce, sealed) = wrapped.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Altered)?;
        let mut opened = Zeroizing::new([0; KEY + TAG]);
        opened.copy_from_slice(sealed);
        let cipher = self.cipher().map_err(|_| Altered)?;
        let key = cipher
            .open_in_place(nonce, Aad::from(about), &mut *opened)
            .map_err(|_| Altered)?;
        let mut data = Zeroizing::new([0; KEY]);
        data.copy_from_slice(key);
        Ok(DataKey(data))
    }

    fn cipher(&self) -> Result<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, &*self.0).map_err(|_| failed())?;
        Ok(LessSafeKey::new(key))
    }
}

impl SegmentCipher {
    /// Seals the segment that `bytes` ends with, from `start` on, and adds its tag.
    pub(super) fn seal(
        &self,
        (number, is_last): (u64, bool),
        bytes: &mut BytesMut,
        start: usize,
    ) -> Result<()> {
        let nonce = nonce_of(number, is_last).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "encrypt blob")
                .with_detail("it is too long: 256 TiB are the most")
        })?;
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut bytes[start..])
            .map_err(|_| failed())?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens the segment that lies in `bytes` behind `skipped`, to the front of them, and returns how
    /// long its content is.
    pub(super) fn open(
        &self,
        (number, is_last): (u64, bool),
        bytes: &mut [u8],
        skipped: usize,
    ) -> Result<usize, Altered> {
        let nonce = nonce_of(number, is_last).ok_or(Altered)?;
        self.0
            .open_within(nonce, Aad::empty(), bytes, skipped..)
            .map(|content| content.len())
            .map_err(|_| Altered)
    }
}

fn nonce_of(number: u64, is_last: bool) -> Option<Nonce> {
    let number = u32::try_from(number).ok()?;
    let mut nonce = [0; NONCE_LEN];
    nonce[7..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = is_last.into();
    Some(Nonce::assume_unique_for_key(nonce))
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| {
        Error::new(ErrorKind::Unavailable, "generate key of blob")
            .with_detail("the system gives no random bytes")
    })
}

fn failed() -> Error {
    Error::new(ErrorKind::Unexpected, "encrypt blob").with_detail("the cipher refused its input")
}
