//! What the footer of a Parquet file claims, before anything is reserved for it.
//!
//! The footer is one structure in Thrift's compact protocol (thrift/doc/specs/thrift-compact-protocol.md). The crate that
//! reads it believes the number of elements of a list and the number of children of a column: a file of 95 bytes makes it
//! reserve gigabytes. Here both are held against what is there.

/// Structures within structures; Parquet's own are 6 deep.
const DEEPEST: usize = 32;

/// Field of the footer that holds the schema, and of an element of it that holds its number of children.
const SCHEMA: i64 = 2;
const NUM_CHILDREN: i64 = 5;

/// Checks the bytes between the last pages and the length of the footer; the error says what is wrong.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut footer = Footer { rest: bytes, elements: 0, children: 0 };
    footer.structure(Place::Root, 0)?;
    if footer.children > footer.elements {
        return Err(format!("columns claim {} parts, of {} in the schema", footer.children, footer.elements));
    }
    Ok(())
}

/// Where a structure stands, as far as it matters.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    SchemaElement,
    Elsewhere,
}

struct Footer<'a> {
    rest: &'a [u8],
    /// Elements of the schema, and what they claim to have as children.
    elements: u64,
    children: u64,
}

impl Footer<'_> {
    fn byte(&mut self) -> Result<u8, String> {
        let (&byte, rest) = self.rest.split_first().ok_or("the footer is cut off")?;
        self.rest = rest;
        Ok(byte)
    }

    fn skip(&mut self, count: u64) -> Result<(), String> {
        let rest = usize::try_from(count).ok().and_then(|count| self.rest.get(count..));
        self.rest =
            rest.ok_or_else(|| format!("{count} bytes claimed where {} are left", self.rest.len()))?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number of more than 64 bits".into())
    }

    fn signed(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn structure(&mut self, place: Place, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("structures are nested more than {DEEPEST} deep"));
        }
        let mut field = 0i64;
        loop {
            let header = self.byte()?;
            let (delta, kind) = (i64::from(header >> 4), header & 0x0f);
            if kind == 0 {
                return Ok(());
            }
            field = if delta == 0 { self.signed()? } else { field.wrapping_add(delta) };
            match (place, field, kind) {
                (_, _, 1 | 2) => {}
                (Place::Root, SCHEMA, 9) => self.elements = self.list(Place::SchemaElement, depth)?,
                (Place::SchemaElement, NUM_CHILDREN, 4..=6) => {
                    let claimed = self.signed()?;
                    self.children = self.children.saturating_add(u64::try_from(claimed).unwrap_or(0));
                }
                _ => self.value(kind, Place::Elsewhere, depth)?,
            }
        }
    }

    /// A value of a structure, a list or a map; in the latter two a Boolean is a byte.
    fn value(&mut self, kind: u8, place: Place, depth: usize) -> Result<(), String> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => self.list(place, depth).map(drop),
            11 => self.map(depth),
            12 => self.structure(place, depth + 1),
            13 => self.skip(16),
            other => Err(format!("a value of kind {other}, which there is not")),
        }
    }

    /// The number of elements.
    fn list(&mut self, place: Place, depth: usize) -> Result<u64, String> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        self.has(count)?;
        for _ in 0..count {
            // As deep as structures: lists of lists recurse too.
            if depth > DEEPEST {
                return Err(format!("lists are nested more than {DEEPEST} deep"));
            }
            self.value(header & 0x0f, place, depth + 1)?;
        }
        Ok(count)
    }

    fn map(&mut self, depth: usize) -> Result<(), String> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(());
        }
        let kinds = self.byte()?;
        self.has(count)?;
        for _ in 0..count {
            if depth > DEEPEST {
                return Err(format!("maps are nested more than {DEEPEST} deep"));
            }
            self.value(kinds >> 4, Place::Elsewhere, depth + 1)?;
            self.value(kinds & 0x0f, Place::Elsewhere, depth + 1)?;
        }
        Ok(())
    }

    /// Every element takes a byte at least.
    fn has(&self, count: u64) -> Result<(), String> {
        match count <= self.rest.len() as u64 {
            true => Ok(()),
            false => Err(format!("{count} elements claimed where {} bytes are left", self.rest.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer with a root column of `children` children and one leaf, after a version.
    fn footer(children: u8) -> Vec<u8> {
        let root = [0x48, 1, b'r', 0x15, children << 1, 0];
        let leaf = [0x15, 12, 0x38, 1, b't', 0];
        [&[0x15, 2, 0x19, 0x2c][..], &root, &leaf, &[0x16, 0, 0x19, 0x0c, 0]].concat()
    }

    #[test]
    fn a_footer_that_claims_what_it_has_passes() {
        assert_eq!(check(&footer(1)), Ok(()));
    }

    #[test]
    fn children_that_are_not_there_are_refused() {
        assert_eq!(check(&footer(60)).unwrap_err(), "columns claim 60 parts, of 2 in the schema");
    }

    #[test]
    fn lists_strings_and_nests_without_end_are_refused_before_they_are_read() {
        let list = [0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07];
        assert_eq!(check(&list).unwrap_err(), "2147483647 elements claimed where 0 bytes are left");
        assert_eq!(check(&[0x18, 100, 1]).unwrap_err(), "100 bytes claimed where 1 are left");
        assert!(check(&[0x1c; 1000]).unwrap_err().contains("nested more than 32 deep"));
        assert!(check(&[0x19, 0x19].repeat(500)).unwrap_err().contains("nested more than 32 deep"));
        let number = [&[0x16][..], &[0xff; 11]].concat();
        assert_eq!(check(&number).unwrap_err(), "a number of more than 64 bits");
    }

    #[test]
    fn every_cut_of_a_footer_is_refused_and_no_byte_makes_it_panic() {
        let good = footer(1);
        for length in 0..good.len() {
            assert!(check(&good[..length]).is_err(), "{length} bytes");
        }
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = check(&bad);
            }
        }
    }
}
