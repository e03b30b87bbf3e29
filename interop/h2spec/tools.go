//go:build tools

// Package tools says which h2spec the tests build, to the `go` command.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
