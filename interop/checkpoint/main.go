// Command checkpoint opens a checkpoint with each key of a trust file alone, the classical and
// the post-quantum ones, by an implementation that is not ours, and ends with 1 if one fails.
//
// Usage: checkpoint TRUST CHECKPOINT
//
// Not here: what the quorum asks for; every key of the trust file must open the note.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/transparency-dev/formats/log"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: checkpoint TRUST CHECKPOINT")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "checkpoint: %v\n", err)
		os.Exit(1)
	}
}

func check(trust, path string) error {
	policy, err := os.ReadFile(trust)
	if err != nil {
		return err
	}
	signed, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	origin, opened := "", 0
	for line := range strings.Lines(string(policy)) {
		var verifier note.Verifier
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "log":
			if verifier, err = note.NewVerifier(words[1]); err == nil {
				origin = verifier.Name()
			}
		case len(words) == 3 && words[0] == "witness":
			verifier, err = formats.NewMLDSAVerifier(words[2])
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", words[0], err)
		}
		checkpoint, _, _, err := log.ParseCheckpoint(signed, origin, verifier)
		if err != nil {
			return fmt.Errorf("%s, key %08x: %w", words[0], verifier.KeyHash(), err)
		}
		fmt.Printf("checkpoint: size %d opened with %s key %08x\n",
			checkpoint.Size, words[0], verifier.KeyHash())
		opened++
	}
	if opened < 2 {
		return fmt.Errorf("%s names %d keys, a log has two", trust, opened)
	}
	return nil
}
