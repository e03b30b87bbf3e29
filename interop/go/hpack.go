package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// hpackPeer does what each line of its input says, and answers each line with one that begins with
// ok or error:
//
//	reset             a new encoder and decoder, as for a new connection
//	limit SIZE        of the encoder's table, as the other end has announced it
//	allow SIZE        for the other end's encoder, as that end has acknowledged it
//	encode FIELD…     answers with a block
//	decode BLOCK      answers with fields
//
// Blocks are in hexadecimal digits, and so are the name and value of a field: name/value/0, or
// name/value/1 if it must never be indexed.
func hpackPeer(input io.Reader, output io.Writer) error {
	const most = 1 << 16
	var block bytes.Buffer
	var encoder *hpack.Encoder
	var decoder *hpack.Decoder
	reset := func() {
		block.Reset()
		encoder = hpack.NewEncoder(&block)
		// By default it would never use more than 4,096 bytes.
		encoder.SetMaxDynamicTableSizeLimit(most)
		decoder = hpack.NewDecoder(4096, nil)
	}
	run := func(command string, arguments []string) (string, error) {
		switch command {
		case "reset":
			reset()
			return "", nil
		case "limit", "allow":
			size, err := strconv.ParseUint(arguments[0], 10, 32)
			if command == "limit" {
				encoder.SetMaxDynamicTableSize(uint32(size))
			} else {
				decoder.SetAllowedMaxDynamicTableSize(uint32(size))
			}
			return "", err
		case "encode":
			block.Reset()
			for _, argument := range arguments {
				field, err := parseField(argument)
				if err != nil {
					return "", err
				}
				if err := encoder.WriteField(field); err != nil {
					return "", err
				}
			}
			return hex.EncodeToString(block.Bytes()), nil
		case "decode":
			block, err := hex.DecodeString(strings.Join(arguments, ""))
			if err != nil {
				return "", err
			}
			fields, err := decoder.DecodeFull(block)
			var said []string
			for _, field := range fields {
				never := 0
				if field.Sensitive {
					never = 1
				}
				said = append(said, fmt.Sprintf("%x/%x/%d", field.Name, field.Value, never))
			}
			return strings.Join(said, " "), err
		}
		return "", fmt.Errorf("unknown command %q", command)
	}
	reset()
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		answer, err := run(words[0], words[1:])
		if err != nil {
			fmt.Fprintln(output, "error", strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Fprintln(output, "ok", answer)
		}
	}
	return lines.Err()
}

func parseField(text string) (hpack.HeaderField, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return hpack.HeaderField{}, fmt.Errorf("no field: %q", text)
	}
	name, err := hex.DecodeString(parts[0])
	if err != nil {
		return hpack.HeaderField{}, err
	}
	value, err := hex.DecodeString(parts[1])
	return hpack.HeaderField{Name: string(name), Value: string(value), Sensitive: parts[2] == "1"}, err
}
