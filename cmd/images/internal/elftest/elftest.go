// Package elftest makes ELF files that name what they need and have no code, for
// tests of what reads them.
package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Object is a shared library or program.
type Object struct {
	Machine elf.Machine         // EM_X86_64 when it is 0
	Needs   []string            // DT_NEEDED
	RunPath string              // DT_RUNPATH
	Loader  string              // PT_INTERP
	Asks    map[string][]string // versions of symbols by the library they are asked of
	Defines []string            // versions of symbols it has
}

const (
	headerSize  = 64
	programSize = 56
)

// Bytes is the file.
func (o *Object) Bytes() []byte {
	strings := &table{data: []byte{0}}
	needs, defines, dynamic := o.needs(strings), o.defines(strings), o.dynamic(strings)
	symbols := make([]byte, 48) // the null symbol, and one
	binary.LittleEndian.PutUint32(symbols[24:], strings.add("symbol"))
	sections := []section{
		{},
		{kind: elf.SHT_STRTAB, data: strings.data},
		{kind: elf.SHT_DYNSYM, data: symbols, link: 1, entry: 24, info: 1},
		{kind: elf.SHT_DYNAMIC, data: dynamic, link: 1, entry: 16},
		{kind: elf.SHT_GNU_VERSYM, data: make([]byte, 4), link: 2, entry: 2},
		{kind: elf.SHT_PROGBITS, data: append([]byte(o.Loader), 0)},
	}
	if len(needs) > 0 {
		sections = append(sections, section{kind: elf.SHT_GNU_VERNEED, data: needs, link: 1})
	}
	if len(defines) > 0 {
		sections = append(sections, section{kind: elf.SHT_GNU_VERDEF, data: defines, link: 1})
	}
	return o.file(sections)
}

type section struct {
	kind       elf.SectionType
	data       []byte
	link, info uint32
	entry      uint64
	offset     uint64
}

// table is a string table.
type table struct{ data []byte }

func (t *table) add(text string) uint32 {
	at := len(t.data)
	t.data = append(append(t.data, text...), 0)
	return uint32(at)
}

func (o *Object) dynamic(strings *table) []byte {
	var b []byte
	entry := func(tag elf.DynTag, value uint32) {
		b = binary.LittleEndian.AppendUint64(b, uint64(tag))
		b = binary.LittleEndian.AppendUint64(b, uint64(value))
	}
	for _, need := range o.Needs {
		entry(elf.DT_NEEDED, strings.add(need))
	}
	if o.RunPath != "" {
		entry(elf.DT_RUNPATH, strings.add(o.RunPath))
	}
	entry(elf.DT_NULL, 0)
	return b
}

func (o *Object) needs(strings *table) []byte {
	var b []byte
	libraries := 0
	for _, library := range o.Needs {
		versions := o.Asks[library]
		if len(versions) == 0 {
			continue
		}
		libraries++
		next := uint32(16 + 16*len(versions))
		if libraries == len(o.Asks) {
			next = 0
		}
		b = put(b, uint16(1), uint16(len(versions)), strings.add(library), uint32(16), next)
		for i, version := range versions {
			next := uint32(16)
			if i == len(versions)-1 {
				next = 0
			}
			b = put(b, uint32(0), uint16(0), uint16(2), strings.add(version), next)
		}
	}
	return b
}

func (o *Object) defines(strings *table) []byte {
	var b []byte
	for i, version := range o.Defines {
		next := uint32(28)
		if i == len(o.Defines)-1 {
			next = 0
		}
		b = put(b, uint16(1), uint16(0), uint16(i+1), uint16(1), uint32(0), uint32(20), next)
		b = put(b, strings.add(version), uint32(0))
	}
	return b
}

func put(b []byte, values ...any) []byte {
	for _, v := range values {
		b, _ = binary.Append(b, binary.LittleEndian, v) // of fixed sizes: it cannot fail
	}
	return b
}

func (o *Object) file(sections []section) []byte {
	machine := o.Machine
	if machine == elf.EM_NONE {
		machine = elf.EM_X86_64
	}
	offset := uint64(headerSize + programSize)
	for i := range sections {
		sections[i].offset = offset
		offset += uint64(len(sections[i].data))
	}
	programs, loader := uint16(0), sections[5]
	if o.Loader != "" {
		programs = 1
	}
	var out bytes.Buffer
	write := func(v any) { _ = binary.Write(&out, binary.LittleEndian, v) } // into memory: it cannot fail
	header := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: 1, Phoff: headerSize, Shoff: offset,
		Ehsize: headerSize, Phentsize: programSize, Phnum: programs, Shentsize: 64, Shnum: uint16(len(sections)), Shstrndx: 1,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	write(header)
	write(elf.Prog64{Type: uint32(elf.PT_INTERP), Off: loader.offset, Filesz: uint64(len(loader.data)), Memsz: uint64(len(loader.data))})
	for _, s := range sections {
		out.Write(s.data)
	}
	for _, s := range sections {
		write(elf.Section64{Type: uint32(s.kind), Off: s.offset, Size: uint64(len(s.data)), Link: s.link, Info: s.info, Entsize: s.entry})
	}
	return out.Bytes()
}
