package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"time"
)

// The following is the same in tests/it/go/formats.rs.
const (
	bufferSize = 100
	buffers    = 1000
	// How many numbers follow each other in one format when everything arrives at once.
	inARow = 3
)

// number returns a number whose lowest byte is a line feed. Its gob begins with one.
func number(step int) int { return 0x00200d0a7b0a220a + step<<24 }

// A format writes numbers, and reads as many without taking a byte from the data behind them.
type format struct {
	write func(writer io.Writer, numbers []int) error
	read  func(reader *bufio.Reader, numbers []int) (*bufio.Reader, error)
}

var formats = []format{{writeJSON, readJSON}, {writeGob, readGob}, {writeBuffers, readBuffers}}

func writeJSON(writer io.Writer, numbers []int) error {
	encoder := json.NewEncoder(writer)
	for _, number := range numbers {
		if err := encoder.Encode(number); err != nil {
			return err
		}
	}
	return nil
}

func readJSON(reader *bufio.Reader, numbers []int) (*bufio.Reader, error) {
	decoder := json.NewDecoder(reader)
	for i := range numbers {
		if err := decoder.Decode(&numbers[i]); err != nil {
			return nil, err
		}
	}
	// The decoder does not read the line feed after a value.
	reader = bufio.NewReader(io.MultiReader(decoder.Buffered(), reader))
	if next, err := reader.ReadByte(); err != nil || next != '\n' {
		return nil, fmt.Errorf("%q and %v where the line feed was due", next, err)
	}
	return reader, nil
}

func writeGob(writer io.Writer, numbers []int) error {
	encoder := gob.NewEncoder(writer)
	for _, number := range numbers {
		if err := encoder.Encode(number); err != nil {
			return err
		}
	}
	return nil
}

// readGob relies on gob's Decoder: it reads no more than necessary from an io.ByteReader.
func readGob(reader *bufio.Reader, numbers []int) (*bufio.Reader, error) {
	decoder := gob.NewDecoder(reader)
	for i := range numbers {
		if err := decoder.Decode(&numbers[i]); err != nil {
			return nil, err
		}
	}
	return reader, nil
}

func writeBuffers(writer io.Writer, numbers []int) error {
	for _, number := range numbers {
		if _, err := writer.Write(buffer(number)); err != nil {
			return err
		}
	}
	return nil
}

func readBuffers(reader *bufio.Reader, numbers []int) (*bufio.Reader, error) {
	heard := make([]byte, bufferSize)
	for i := range numbers {
		if _, err := io.ReadFull(reader, heard); err != nil {
			return nil, err
		}
		numbers[i] = int(binary.LittleEndian.Uint64(heard))
		if !bytes.Equal(heard, buffer(numbers[i])) {
			return nil, fmt.Errorf("the buffer is %q", heard)
		}
	}
	return reader, nil
}

func buffer(number int) []byte {
	made := bytes.Repeat([]byte{'\n'}, bufferSize)
	binary.LittleEndian.PutUint64(made, uint64(number))
	return made
}

// expect reads the numbers of these steps.
func (f format) expect(reader *bufio.Reader, steps ...int) (*bufio.Reader, error) {
	heard := make([]int, len(steps))
	reader, err := f.read(reader, heard)
	if err != nil {
		return nil, fmt.Errorf("at %v: %w", steps, err)
	}
	for i, step := range steps {
		if heard[i] != number(step) {
			return nil, fmt.Errorf("%x came for number %d", heard[i], step)
		}
	}
	return reader, nil
}

// inTurns sends one number each way in each format. If begin is set, this side begins.
func inTurns(begin bool) scenario {
	return func(conn io.ReadWriter) error {
		reader := bufio.NewReader(conn)
		for i, format := range formats {
			for step := 2 * i; step < 2*i+2; step++ {
				var err error
				if (step%2 == 0) == begin {
					err = format.write(conn, []int{number(step)})
				} else {
					reader, err = format.expect(reader, step)
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// atOnce writes numbers in all formats with one call, and then reads as many.
func atOnce(conn io.ReadWriter) error {
	var all bytes.Buffer
	for i, format := range formats {
		var numbers []int
		for step := i * inARow; step < (i+1)*inARow; step++ {
			numbers = append(numbers, number(step))
		}
		if err := format.write(&all, numbers); err != nil {
			return err
		}
	}
	if _, err := conn.Write(all.Bytes()); err != nil {
		return err
	}
	reader := bufio.NewReader(conn)
	for i, format := range formats {
		var err error
		if reader, err = format.expect(reader, i*inARow, i*inARow+1, i*inARow+2); err != nil {
			return err
		}
	}
	return nil
}

// fixedBuffers writes in pieces that are no buffers, and expects everything back.
func fixedBuffers(conn io.ReadWriter) error {
	all := noise(buffers*bufferSize, 4)
	for reader := bytes.NewReader(all); reader.Len() > 0; {
		if _, err := io.CopyN(conn, reader, 777); err != nil && err != io.EOF {
			return err
		}
	}
	heard := make([]byte, len(all))
	if _, err := io.ReadFull(conn, heard); err != nil {
		return err
	}
	if !bytes.Equal(heard, all) {
		return errors.New("other buffers came back")
	}
	return nil
}

// jsonValues expects every value back.
func jsonValues(conn io.ReadWriter) error {
	encoder, decoder := json.NewEncoder(conn), json.NewDecoder(conn)
	for i, row := range jsonRows() {
		if err := row(encoder, decoder); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}

type jsonRow func(*json.Encoder, *json.Decoder) error

func returned[T any](value T) jsonRow {
	return func(encoder *json.Encoder, decoder *json.Decoder) error {
		if err := encoder.Encode(value); err != nil {
			return err
		}
		var heard T
		if err := decoder.Decode(&heard); err != nil {
			return err
		}
		if !reflect.DeepEqual(heard, value) {
			return fmt.Errorf("%+v came, and not %+v", heard, value)
		}
		return nil
	}
}

type Entry struct {
	Base
	Name    string            `json:"name"`
	At      time.Time         `json:"at"`
	Blob    []byte            `json:"blob"`
	Tags    map[int]string    `json:"tags"`
	Next    *Entry            `json:"next,omitempty"`
	Raw     json.RawMessage   `json:"raw"`
	Text    map[string]string `json:"text"`
	private int
}

func jsonRows() []jsonRow {
	entry := Entry{
		Base{7}, "<a> & \"b\" \\ \n \u2028 wörld 🦀", time.Date(2026, 2, 28, 12, 0, 0, 5, time.UTC), []byte{0, 255},
		map[int]string{-1: "x", 2: ""}, nil, json.RawMessage(`[1,{}]`), map[string]string{}, 0,
	}
	nested := Entry{Next: &entry, Raw: json.RawMessage("null")}
	return []jsonRow{
		returned[any](nil),
		returned([]bool{true, false}),
		returned(0),
		returned([]int{-1, math.MaxInt64, math.MinInt64}),
		returned(uint64(math.MaxUint64)),
		returned([]float64{1.5, 1e21, 1e-7, math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1, 0.15100216327808003}),
		returned([]float32{1.5, math.MaxFloat32, 0.1}),
		returned(string(bytes.Repeat([]byte("long"), 50_000))),
		returned(""),
		returned([]any{}),
		returned(map[string]any{}),
		returned([]any{1.0, "two", nil, map[string]any{"three": []any{3.0}}}),
		returned(entry),
		returned(nested),
	}
}
