//go:build tools

// Package tools tells the `go` command which version of h2spec the tests build.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
