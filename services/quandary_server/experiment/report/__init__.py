"""The figures as pictures and as a page. All is drawn from the document of figures, so that it can be drawn again."""
