"""The text of one page: bytes decoded rightly, main text of HTML, plain text as it is.

GPT-2 2.1 combined Dragnet and Newspaper; Dragnet can no longer be installed. Which extractor stands in for them is a
setting, and which one made a text is recorded with every document, because extractors differ more than filters do.
"""

from data_prep.extract.encoding import decode
from data_prep.extract.extractor import Extractor
from data_prep.extract.page import Extracted, Failure, page_function
from data_prep.extract.settings import ExtractSettings

__all__ = ["ExtractSettings", "Extracted", "Extractor", "Failure", "decode", "page_function"]
