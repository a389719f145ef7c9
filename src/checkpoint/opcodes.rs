//! The opcodes of Python's pickles, named as in `pickletools`, and a cursor to read them.

use anyhow::{Context, Result, bail};

macro_rules! opcodes {
    ($($name:ident = $code:literal)*) => { $(pub const $name: u8 = $code;)* };
}

opcodes! {
    // values
    NONE = b'N'         NEWTRUE = 0x88          NEWFALSE = 0x89
    INT = b'I'          LONG = b'L'             FLOAT = b'F'
    BININT = b'J'       BININT1 = b'K'          BININT2 = b'M'
    LONG1 = 0x8a        LONG4 = 0x8b            BINFLOAT = b'G'
    STRING = b'S'       BINSTRING = b'T'        SHORT_BINSTRING = b'U'
    UNICODE = b'V'      BINUNICODE = b'X'       SHORT_BINUNICODE = 0x8c     BINUNICODE8 = 0x8d
    BINBYTES = b'B'     SHORT_BINBYTES = b'C'   BINBYTES8 = 0x8e            BYTEARRAY8 = 0x96
    // containers
    EMPTY_TUPLE = b')'  TUPLE = b't'    TUPLE1 = 0x85   TUPLE2 = 0x86       TUPLE3 = 0x87
    EMPTY_LIST = b']'   LIST = b'l'     APPEND = b'a'   APPENDS = b'e'
    EMPTY_DICT = b'}'   DICT = b'd'     SETITEM = b's'  SETITEMS = b'u'
    EMPTY_SET = 0x8f    ADDITEMS = 0x90 FROZENSET = 0x91
    // stack and memo
    MARK = b'('         POP = b'0'      POP_MARK = b'1' DUP = b'2'
    PUT = b'p'          BINPUT = b'q'   LONG_BINPUT = b'r'  MEMOIZE = 0x94
    GET = b'g'          BINGET = b'h'   LONG_BINGET = b'j'
    // classes, calls and persistent objects
    GLOBAL = b'c'       STACK_GLOBAL = 0x93     EXT1 = 0x82     EXT2 = 0x83     EXT4 = 0x84
    REDUCE = b'R'       BUILD = b'b'            INST = b'i'     OBJ = b'o'
    NEWOBJ = 0x81       NEWOBJ_EX = 0x92        PERSID = b'P'   BINPERSID = b'Q'
    // the program itself
    PROTO = 0x80        FRAME = 0x95            STOP = b'.'
}

/// A cursor in the bytes of a pickle. Its methods fail at the end of the bytes.
pub struct Code<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Code<'a> {
    /// Reads `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..n).context("a sudden end")?;
        self.at += n;
        Ok(taken)
    }

    pub fn skip(&mut self, n: usize) -> Result<()> {
        self.take(n).map(drop)
    }

    /// Reads an unsigned little-endian number of `width` bytes, at most 8.
    pub fn number(&mut self, width: usize) -> Result<u64> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    /// Reads a count of `width` bytes, and as many bytes as it says.
    pub fn counted(&mut self, width: usize) -> Result<&'a [u8]> {
        let n = self.number(width)?;
        self.take(usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// Reads the text up to the end of the line.
    pub fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let n = rest.iter().position(|&byte| byte == b'\n').context("a sudden end")?;
        self.at += n + 1;
        match str::from_utf8(&rest[..n]) {
            Ok(line) => Ok(line),
            Err(_) => bail!("a line that is not text"),
        }
    }
}
