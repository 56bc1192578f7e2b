"""What every stage needs: params, files, errors in one line, random streams by name."""
