"""Names that a user may have chosen and that mean something to some format."""

HOSTILE = [
    *("[deleted]", "[/b]", "[bold]x[/bold]", "urn:book:12", "log [final]", "### title"),
    *("<script>alert(1)</script>", "[x](javascript:alert(1))", "![x](y.png)", "a|b`c*d_e~f"),
    *("&lt;b&gt; &#35;", "1. first", "- item", "> said", "$x^2$ {a} 50% \\alpha", "two\nlines"),
]
