package main

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"
)

// Every type has a struct of the same name in tests/it/go/gob.rs.

type Point struct{ X, Y int }

type Numbers struct {
	I8      int8
	I16     int16
	I32     int32
	I64     int64
	I       int
	U8      uint8
	U16     uint16
	U32     uint32
	U64     uint64
	U       uint
	F32     float32
	F64     float64
	C64     complex64
	C128    complex128
	Yes     bool
	Text    string
	Bytes   []byte
	private int
}

type Lists struct {
	Ints    []int
	Texts   []string
	Blobs   [][]byte
	Points  []Point
	Nested  [][]int
	Array   [3]int
	Octets  [4]byte
	Corners [2]Point
	Counts  map[string]int
	Names   map[int][]string
	Places  map[Point]string
	Deep    map[string]map[string]bool
}

type Base struct{ ID int }

type Person struct {
	Base
	Name    string
	Home    struct{ Street string }
	Friends []*Person
}

type Pointers struct {
	Number *int
	Text   *string
	Point  *Point
	Twice  **int
}

type Tree struct {
	Value       int
	Left, Right *Tree
}

type Event struct {
	At    time.Time
	Until *time.Time
}

type Shape interface{ Area() float64 }

type Circle struct {
	Radius float64
	Label  any
}

type Square struct{ Side int }

func (c Circle) Area() float64  { return math.Pi * c.Radius * c.Radius }
func (s *Square) Area() float64 { return float64(s.Side * s.Side) }

type Things struct {
	Any   any
	Shape Shape
	List  []any
	Named map[string]any
}

type Marshaled struct {
	Big *big.Int
	URL *url.URL
}

type Celsius float64

type Weather struct {
	High Celsius
	Days []Celsius
}

// Wide is Narrow at the other end.
type Wide struct {
	A    int
	B    string
	Gone []Things
	C    *Tree
	D    map[string]Point
}

type Narrow struct {
	D     map[string]Point
	A     int
	Other []string
}

// A gobRow writes values as one gob stream, and then reads a stream as the answer.
type gobRow func(reader io.Reader, writer io.Writer) error

// same expects the values that it has written.
func same[T any](values ...T) gobRow { return answered(values, values) }

func answered[W, R any](written []W, expected []R) gobRow {
	return func(reader io.Reader, writer io.Writer) error {
		encoder := gob.NewEncoder(writer)
		for i := range written {
			// Encode the address, so that an interface is sent as one.
			if err := encoder.Encode(&written[i]); err != nil {
				return fmt.Errorf("writing %T: %w", written[i], err)
			}
		}
		decoder := gob.NewDecoder(reader)
		for i := range expected {
			var heard R
			if err := decoder.Decode(&heard); err != nil {
				return fmt.Errorf("reading %T number %d: %w", heard, i, err)
			}
			// This is what Go would have received from Go, which does not distinguish nil from empty.
			var own R
			var stream bytes.Buffer
			if err := gob.NewEncoder(&stream).Encode(&expected[i]); err != nil {
				return err
			}
			if err := gob.NewDecoder(&stream).Decode(&own); err != nil {
				return err
			}
			if !reflect.DeepEqual(heard, own) {
				return fmt.Errorf("%T number %d: %+v came, and not %+v", heard, i, heard, own)
			}
		}
		return nil
	}
}

func pointer[T any](value T) *T { return &value }

func gobRows() []gobRow {
	gob.RegisterName("circle", Circle{})
	gob.RegisterName("square", &Square{})
	gob.RegisterName("things", Things{})
	gob.RegisterName("list", []any{})
	ada := &Person{Base{1}, "Ada", struct{ Street string }{"Dorset Street"}, nil}
	bob := Person{Base{2}, "Bob", struct{ Street string }{}, []*Person{ada, {Name: "Eve"}}}
	noon := time.Date(2026, 2, 28, 12, 0, 0, 123456789, time.UTC)
	kathmandu := time.Date(1969, 7, 20, 20, 17, 40, 0, time.FixedZone("", 20700))
	many := make([]Point, 10_000)
	for i := range many {
		many[i] = Point{i, -i}
	}
	parsed, _ := url.Parse("https://example.com/a?b=c")
	return []gobRow{
		same(0, 1, -1, 63, -64, 64, -65, 127, 128, math.MaxInt64, math.MinInt64),
		same[uint](0, 1, 127, 128, 255, 256, math.MaxUint64),
		same(0.0, 17.0, -1.5, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(-1)),
		same(0i, 1-2i, complex(math.Inf(1), 0.5)),
		same(false, true),
		same("", "hello", "wörld 🦀", strings.Repeat("long", 50_000)),
		same([]byte{}, []byte{0, 255, 128}, make([]byte, 300_000)),
		same(
			Numbers{},
			Numbers{-8, -16, -32, -64, -1, 8, 16, 32, 64, 1, 1.5, 2.5, 1 + 2i, 3 - 4i, true, "text", []byte("bytes"), 0},
			Numbers{I8: math.MinInt8, I64: math.MinInt64, U8: math.MaxUint8, U64: math.MaxUint64, F32: math.MaxFloat32},
		),
		same(
			Lists{},
			Lists{
				[]int{1, 0, -1}, []string{"a", "", "c"}, [][]byte{{1}, {}, {2, 3}}, []Point{{}, {1, 2}}, [][]int{{1, 2}, {}, {3}},
				[3]int{1, 0, 3}, [4]byte{1, 2, 0, 255}, [2]Point{{1, 0}, {0, 2}},
				map[string]int{"one": 1, "": 0}, map[int][]string{-1: {"x"}, 0: {"y", ""}}, map[Point]string{{1, 2}: "here"},
				map[string]map[string]bool{"outer": {"yes": true, "no": false}},
			},
		),
		same([]int{3, 2, 1}),
		same([2]string{"a", ""}),
		same(map[string][]float64{"a": {1, 2}}),
		same(*ada, bob),
		same(Pointers{}, Pointers{pointer(1), pointer("text"), &Point{1, 0}, pointer(pointer(2))}),
		// A pointer to zero is left out, like zero itself.
		answered([]Pointers{{Number: pointer(0), Text: pointer("")}}, []Pointers{{}}),
		same(Tree{}, Tree{1, &Tree{2, nil, &Tree{Value: 3}}, &Tree{Value: 4}}),
		same(noon, kathmandu, time.Time{}),
		same(Event{}, Event{noon, &kathmandu}, Event{At: time.Unix(-1, 999).UTC()}),
		same(
			Things{},
			// Types that appear in the middle of a value, one within the other, and then once more.
			Things{
				Any:   Circle{1.5, Circle{2, "inner"}},
				Shape: &Square{3},
				List:  []any{1, "two", nil, 3.5, true, []byte("four"), Things{Any: Circle{}}},
				Named: map[string]any{"list": []any{&Square{4}, nil}},
			},
			Things{Shape: Circle{Radius: 1}, List: []any{&Square{5}}},
		),
		same[any](1, "text", Circle{1, &Square{2}}, &Square{6}),
		same(Marshaled{}, Marshaled{big.NewInt(-12345678901234567), parsed}),
		same(Weather{21.5, []Celsius{-1, 0, 1}}),
		answered(
			[]Wide{
				{},
				{1, "b", []Things{{Any: Circle{1, &Square{1}}, Shape: &Square{2}}}, &Tree{Left: &Tree{}}, map[string]Point{"p": {1, 2}}},
				{A: 2},
			},
			[]Narrow{{}, {map[string]Point{"p": {1, 2}}, 1, []string{"new"}}, {A: 2}},
		),
		// This value is read and written without its type being known.
		same(bob, *ada),
		same(many...),
	}
}

// gobValues expects an answer to every row.
func gobValues(conn io.ReadWriter) error {
	reader := bufio.NewReader(conn)
	for i, row := range gobRows() {
		writer := bufio.NewWriter(conn)
		// A row that reads has written everything before.
		if err := row(flushed{reader, writer}, writer); err != nil {
			// The other end sees only a reset, and may not wait until this process ends.
			fmt.Fprintf(os.Stderr, "row %d: %v\n", i, err)
			return err
		}
	}
	return nil
}

// flushed flushes a writer before it reads.
type flushed struct {
	*bufio.Reader
	writer *bufio.Writer
}

func (f flushed) Read(p []byte) (int, error) {
	if err := f.writer.Flush(); err != nil {
		return 0, err
	}
	return f.Reader.Read(p)
}

func (f flushed) ReadByte() (byte, error) {
	if err := f.writer.Flush(); err != nil {
		return 0, err
	}
	return f.Reader.ReadByte()
}
