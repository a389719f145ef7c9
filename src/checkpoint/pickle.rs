//! An interpreter for Python's pickles that runs no code.
//!
//! A pickle is a program for a stack machine. This interpreter builds plain values only: a class or function remains a
//! name, and a call is recorded as its function, its arguments and the entries set on its result. Values are small
//! copies. The contents of containers lie in one flat list and are shared by index, so that deep nesting,
//! self-reference and repeated references cost nothing, even when dropped.

use super::opcodes::{self as op, Code};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::HashMap;

/// A Python object. Strings borrow from the pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Int(i64),
    Str(&'a str),
    Tuple(Items),
    /// A list or a set.
    List(Items),
    /// A dictionary, as alternating keys and values.
    Dict(Items),
    /// The module and name of a class or function.
    Global(&'a str, &'a str),
    /// A call that was not made: the function, its arguments, and alternating keys and values that were set on the
    /// result.
    Call(Items),
    /// The identifier of an object outside the pickle, such as a storage of torch.
    Persistent(Items),
    /// Any object that tensors do not need.
    Opaque,
}

/// The contents of a container, for [`Pickle::items`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Items(usize);

/// The key under which the entries of a torch `ParameterDict` contain its state.
pub const STATE: &str = "__state__";

/// The class of a dictionary that contains its entries in its state, before torch 1.13.
const PARAMETER_DICT: Value = Value::Global("torch.nn.modules.container", "ParameterDict");

/// The objects of a pickle.
pub struct Pickle<'a> {
    /// The pickled object.
    pub root: Value<'a>,
    /// The length of the pickle in bytes. Other data may follow it.
    pub length: usize,
    /// The contents of every [`Value::Persistent`].
    pub persistent: Vec<Items>,
    objects: Vec<Vec<Value<'a>>>,
}

impl<'a> Pickle<'a> {
    /// Interprets the pickle at the start of `bytes`.
    ///
    /// # Errors
    /// A noun phrase that describes the fault, if the pickle is invalid.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut machine = Machine::new(bytes);
        loop {
            let at = machine.code.at;
            let result = machine.step().map_err(|e| anyhow!("{e} at byte {at} of its pickle"))?;
            if let Some(root) = result {
                let Machine { code, persistent, objects, .. } = machine;
                return Ok(Self { root, length: code.at, persistent, objects });
            }
        }
    }

    /// The contents of a container.
    pub fn items(&self, items: Items) -> &[Value<'a>] {
        &self.objects[items.0]
    }

    /// The keys and values of a dictionary, or of an object that was filled like one, such as a `defaultdict`.
    pub fn entries(&self, dict: Value<'a>) -> Option<&[[Value<'a>; 2]]> {
        match dict {
            Value::Dict(items) => Some(self.items(items).as_chunks().0),
            Value::Call(items) => match self.items(items) {
                [_, _, set @ ..] if !set.is_empty() => Some(set.as_chunks().0),
                _ => None,
            },
            _ => None,
        }
    }

    /// The function and the arguments of a call, if `value` is one.
    pub fn call(&self, value: Value<'a>) -> Option<[Value<'a>; 2]> {
        let Value::Call(items) = value else { return None };
        self.items(items).first_chunk().copied()
    }
}

/// The stack machine.
struct Machine<'a> {
    code: Code<'a>,
    stack: Vec<Value<'a>>,
    /// The heights of the stack at which groups of values begin.
    marks: Vec<usize>,
    memo: HashMap<u64, Value<'a>>,
    persistent: Vec<Items>,
    objects: Vec<Vec<Value<'a>>>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let code = Code { bytes, at: 0 };
        Self { code, stack: vec![], marks: vec![], memo: HashMap::new(), persistent: vec![], objects: vec![] }
    }

    /// Runs one instruction. The last one returns the pickled object.
    fn step(&mut self) -> Result<Option<Value<'a>>> {
        match self.code.number(1)? as u8 {
            op::STOP => return self.pop().map(Some),
            op::PROTO => self.code.skip(1)?,
            op::FRAME => self.code.skip(8)?,
            op::MARK => self.marks.push(self.stack.len()),
            op::POP => self.pop_value_or_mark()?,
            op::POP_MARK => drop(self.pop_group()?),
            op::DUP => self.stack.push(self.top()?),
            op::PUT => self.put_at_line()?,
            op::BINPUT => self.put_at(1)?,
            op::LONG_BINPUT => self.put_at(4)?,
            op::MEMOIZE => self.put(self.memo.len() as u64)?,
            op::APPEND => self.append()?,
            op::APPENDS | op::ADDITEMS => self.append_group()?,
            op::SETITEM => self.set_item()?,
            op::SETITEMS => self.set_group()?,
            op::BUILD => self.build()?,
            op => {
                let value = self.value(op)?;
                self.stack.push(value);
            }
        }
        Ok(None)
    }

    /// Returns the value that an instruction pushes.
    fn value(&mut self, op: u8) -> Result<Value<'a>> {
        match op {
            op::GET => self.get_at_line(),
            op::BINGET => self.get_at(1),
            op::LONG_BINGET => self.get_at(4),
            op::EMPTY_TUPLE => Ok(Value::Tuple(self.items(vec![]))),
            op::EMPTY_LIST | op::EMPTY_SET => Ok(Value::List(self.items(vec![]))),
            op::EMPTY_DICT => Ok(Value::Dict(self.items(vec![]))),
            op::TUPLE => Ok(Value::Tuple(self.group()?)),
            op::TUPLE1 => Ok(Value::Tuple(self.last(1)?)),
            op::TUPLE2 => Ok(Value::Tuple(self.last(2)?)),
            op::TUPLE3 => Ok(Value::Tuple(self.last(3)?)),
            op::LIST | op::FROZENSET => Ok(Value::List(self.group()?)),
            op::DICT => Ok(Value::Dict(self.group()?)),
            op::REDUCE => self.call(),
            // A class is called like a function.
            op::NEWOBJ => self.last(2).map(Value::Call),
            op::NEWOBJ_EX => self.last(3).map(|_| Value::Opaque),
            op::OBJ => self.group().map(|_| Value::Opaque),
            op::INST => self.instance(),
            op::STACK_GLOBAL => self.stack_global(),
            op::BINPERSID => self.persistent(),
            _ => literal(&mut self.code, op),
        }
    }

    /// The value on top of the stack, within the last group.
    fn top(&self) -> Result<Value<'a>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let value = self.stack[floor..].last();
        value.copied().context("an instruction that lacks its value")
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    /// Removes the top of the stack, which may be a mark.
    fn pop_value_or_mark(&mut self) -> Result<()> {
        match self.marks.last() {
            Some(&height) if height == self.stack.len() => drop(self.marks.pop()),
            _ => drop(self.pop()?),
        }
        Ok(())
    }

    /// Removes the values above the last mark, and the mark.
    fn pop_group(&mut self) -> Result<Vec<Value<'a>>> {
        let height = self.marks.pop().context("the end of a group that has no beginning")?;
        Ok(self.stack.split_off(height))
    }

    /// Moves the values above the last mark into a container.
    fn group(&mut self) -> Result<Items> {
        let values = self.pop_group()?;
        Ok(self.items(values))
    }

    /// Moves the last `n` values into a container, in the order in which they were pushed.
    fn last(&mut self, n: usize) -> Result<Items> {
        let mut values = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        values.reverse();
        Ok(self.items(values))
    }

    /// Creates a container.
    fn items(&mut self, values: Vec<Value<'a>>) -> Items {
        self.objects.push(values);
        Items(self.objects.len() - 1)
    }

    fn put(&mut self, key: u64) -> Result<()> {
        let value = self.top()?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn put_at(&mut self, width: usize) -> Result<()> {
        let key = self.code.number(width)?;
        self.put(key)
    }

    fn put_at_line(&mut self) -> Result<()> {
        let key = memo_key(self.code.line()?)?;
        self.put(key)
    }

    fn get(&self, key: u64) -> Result<Value<'a>> {
        self.memo.get(&key).copied().context("a reference to nothing")
    }

    fn get_at(&mut self, width: usize) -> Result<Value<'a>> {
        let key = self.code.number(width)?;
        self.get(key)
    }

    fn get_at_line(&mut self) -> Result<Value<'a>> {
        let key = memo_key(self.code.line()?)?;
        self.get(key)
    }

    fn append(&mut self) -> Result<()> {
        let value = self.pop()?;
        self.extend_list(&[value])
    }

    fn append_group(&mut self) -> Result<()> {
        let values = self.pop_group()?;
        self.extend_list(&values)
    }

    fn set_item(&mut self) -> Result<()> {
        let (value, key) = (self.pop()?, self.pop()?);
        self.extend_dict(&[key, value])
    }

    fn set_group(&mut self) -> Result<()> {
        let values = self.pop_group()?;
        self.extend_dict(&values)
    }

    /// Appends values to the list on top of the stack. Those for other objects are dropped.
    fn extend_list(&mut self, values: &[Value<'a>]) -> Result<()> {
        if let Value::List(items) = self.top()? {
            self.objects[items.0].extend(values);
        }
        Ok(())
    }

    /// Sets entries of the dictionary or the result of a call on top of the stack. Those of other objects are dropped.
    fn extend_dict(&mut self, values: &[Value<'a>]) -> Result<()> {
        ensure!(values.len().is_multiple_of(2), "a key without a value");
        if let Value::Dict(items) | Value::Call(items) = self.top()? {
            self.objects[items.0].extend(values);
        }
        Ok(())
    }

    /// Sets the state of an object: attributes, which tensors do not need, except those of a `ParameterDict`.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        match self.top()? {
            Value::Call(items) if self.objects[items.0].first() == Some(&PARAMETER_DICT) => {
                self.extend_dict(&[Value::Str(STATE), state])
            }
            _ => Ok(()),
        }
    }

    /// Records a call. `OrderedDict()` becomes an empty dictionary.
    fn call(&mut self) -> Result<Value<'a>> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        if function == Value::Global("collections", "OrderedDict") && self.is_empty(arguments) {
            return Ok(Value::Dict(self.items(vec![])));
        }
        Ok(Value::Call(self.items(vec![function, arguments])))
    }

    fn is_empty(&self, tuple: Value) -> bool {
        matches!(tuple, Value::Tuple(items) if self.objects[items.0].is_empty())
    }

    /// Skips the instance of a class.
    fn instance(&mut self) -> Result<Value<'a>> {
        global(&mut self.code)?;
        self.pop_group()?;
        Ok(Value::Opaque)
    }

    fn stack_global(&mut self) -> Result<Value<'a>> {
        match (self.pop()?, self.pop()?) {
            (Value::Str(name), Value::Str(module)) => Ok(Value::Global(module, name)),
            _ => bail!("a class whose name is not text"),
        }
    }

    /// Records a persistent identifier, which is a tuple for a storage.
    fn persistent(&mut self) -> Result<Value<'a>> {
        match self.pop()? {
            Value::Tuple(items) => {
                self.persistent.push(items);
                Ok(Value::Persistent(items))
            }
            _ => Ok(Value::Opaque),
        }
    }
}

/// Returns the value that follows an opcode.
fn literal<'a>(code: &mut Code<'a>, op: u8) -> Result<Value<'a>> {
    match op {
        op::NONE => Ok(Value::Opaque),
        op::NEWFALSE => Ok(Value::Int(0)),
        op::NEWTRUE => Ok(Value::Int(1)),
        op::BININT1 => Ok(Value::Int(code.number(1)? as i64)),
        op::BININT2 => Ok(Value::Int(code.number(2)? as i64)),
        op::BININT => Ok(Value::Int((code.number(4)? as i32).into())),
        op::LONG1 => Ok(integer(code.counted(1)?)),
        op::LONG4 => Ok(integer(code.counted(4)?)),
        op::INT | op::LONG => Ok(decimal(code.line()?)),
        op::STRING | op::UNICODE => Ok(quoted(code.line()?)),
        op::SHORT_BINSTRING | op::SHORT_BINUNICODE => Ok(text(code.counted(1)?)),
        op::BINSTRING | op::BINUNICODE => Ok(text(code.counted(4)?)),
        op::BINUNICODE8 => Ok(text(code.counted(8)?)),
        op::GLOBAL => global(code),
        op::FLOAT | op::PERSID => code.line().map(|_| Value::Opaque),
        op::BINFLOAT => code.skip(8).map(|()| Value::Opaque),
        op::SHORT_BINBYTES => code.counted(1).map(|_| Value::Opaque),
        op::BINBYTES => code.counted(4).map(|_| Value::Opaque),
        op::BINBYTES8 | op::BYTEARRAY8 => code.counted(8).map(|_| Value::Opaque),
        op::EXT1 => code.skip(1).map(|()| Value::Opaque),
        op::EXT2 => code.skip(2).map(|()| Value::Opaque),
        op::EXT4 => code.skip(4).map(|()| Value::Opaque),
        unknown => bail!("an unknown instruction {unknown:#04x}"),
    }
}

fn global<'a>(code: &mut Code<'a>) -> Result<Value<'a>> {
    Ok(Value::Global(code.line()?, code.line()?))
}

fn memo_key(line: &str) -> Result<u64> {
    line.parse().context("a reference that is not a number")
}

/// Reads a little-endian two's complement number. Those that tensors need have at most 8 bytes.
fn integer<'a>(bytes: &[u8]) -> Value<'a> {
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut extended = [if negative { 0xff } else { 0 }; 8];
    match extended.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return Value::Opaque,
    }
    Value::Int(i64::from_le_bytes(extended))
}

fn decimal<'a>(line: &str) -> Value<'a> {
    line.trim_end_matches('L').parse().map_or(Value::Opaque, Value::Int)
}

/// Reads a quoted or bare string. One with escapes is not the name of a tensor.
fn quoted(line: &str) -> Value<'_> {
    if line.contains('\\') {
        return Value::Opaque;
    }
    Value::Str(line.trim_matches(['\'', '"']))
}

fn text(bytes: &[u8]) -> Value<'_> {
    str::from_utf8(bytes).map_or(Value::Opaque, Value::Str)
}
