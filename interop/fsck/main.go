// Command fsck reads a log as static tlog-tiles files, all of them, with the fsck of another
// project, and ends with 1 if it finds any fault.
//
// Usage: fsck TRUST DIR
//
// TRUST is the log's trust file; DIR is what `custody tiles` wrote. Not here: any check of ours.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: fsck TRUST DIR")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "fsck: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("fsck: nothing to say")
}

func check(trust, dir string) error {
	vkey, err := logKey(trust)
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return fmt.Errorf("the log's key: %w", err)
	}
	files := client.FileFetcher{Root: dir}
	f := fsck.New(verifier.Name(), verifier, files, leafHashes, fsck.Opts{N: 2})
	if err := f.Check(context.Background()); err != nil {
		return err
	}
	if n := f.Status().ErrorsEncountered; n != 0 {
		return fmt.Errorf("%d files could not be read", n)
	}
	return nil
}

// logKey returns the vkey of the trust file's one line `log <vkey>`.
func logKey(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "log" {
			return words[1], nil
		}
	}
	return "", fmt.Errorf("%s names no log", path)
}

func leafHashes(bundle []byte) ([][]byte, error) {
	var entries api.EntryBundle
	if err := entries.UnmarshalText(bundle); err != nil {
		return nil, fmt.Errorf("an entry bundle: %w", err)
	}
	hashes := make([][]byte, 0, len(entries.Entries))
	for _, entry := range entries.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}
